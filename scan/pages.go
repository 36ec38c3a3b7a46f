package scan

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/DataDog/zstd"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// pages reads the pages of a column chunk, one after the other.
type pages struct {
	src      io.ReaderAt
	off, end int64  // of what of the chunk is not in the block yet
	size     int    // of a block, at least
	block    []byte // bytes of the chunk; those from at on were not used
	at       int
	codec    compress.Compression
	header   format.PageHeader
	body     []byte // memory for what was decompressed
}

const (
	// firstHeader is how many bytes a page's header has at most, as a rule: bounds of texts can make it longer.
	firstHeader = 1 << 10
	maxHeader   = 16 << 20
	// maxPage is the largest page that is read here, before or after compression. A damaged header may speak of any.
	maxPage = 64 << 20
)

// decompresses reports whether pages of a codec can be read.
func decompresses(codec compress.Compression) bool {
	return codec == compress.Codecs.Uncompressed || codec == compress.Codecs.Zstd || codec == compress.Codecs.Snappy
}

func (p *pages) open(src io.ReaderAt, off, end int64, size int, codec compress.Compression) {
	p.src, p.off, p.end, p.size, p.codec = src, off, end, size, codec
	p.block, p.at = p.block[:0], 0
}

// need has the next n bytes in the block, or as many as there are.
func (p *pages) need(n int) ([]byte, error) {
	if have := len(p.block) - p.at; have < n && p.off < p.end {
		more := int(min(int64(max(n-have, p.size-have)), p.end-p.off))
		rest := p.block[p.at:]
		if cap(p.block) < have+more {
			p.block = make([]byte, have, have+more)
		}
		p.block = p.block[:have+more]
		copy(p.block, rest)
		p.at = 0
		if read, err := p.src.ReadAt(p.block[have:], p.off); read < more {
			p.block = p.block[:have]
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: it ends within a page", errDamaged)
			}
			return nil, err
		}
		p.off += int64(more)
	}
	return p.block[p.at:min(len(p.block), p.at+n)], nil
}

// next reads a page: its header, and its bytes as they lie in the file. Both are good until the next call; io.EOF after the last.
func (p *pages) next() (*format.PageHeader, []byte, error) {
	for most := firstHeader; ; most *= 8 {
		b, err := p.need(most)
		if err != nil {
			return nil, nil, err
		}
		if len(b) == 0 {
			return nil, nil, io.EOF
		}
		r := new(thrift.CompactProtocol).NewReaderFromBytes(b)
		p.header = format.PageHeader{}
		if err := thrift.NewDecoder(r).Decode(&p.header); err == nil {
			p.at += r.BytesRead()
			break
		} else if len(b) < most || most >= maxHeader {
			return nil, nil, fmt.Errorf("%w: a page's header: %w", errDamaged, err)
		}
	}
	n, full := int(p.header.CompressedPageSize), p.header.UncompressedPageSize
	if n < 0 || full < 0 {
		return nil, nil, fmt.Errorf("%w: a page has %d bytes, and %d before compression", errDamaged, n, full)
	}
	if n > maxPage || full > maxPage {
		return nil, nil, errForeign
	}
	b, err := p.need(n)
	if err != nil {
		return nil, nil, err
	}
	if len(b) < n {
		return nil, nil, fmt.Errorf("%w: a page of %d bytes ends after %d", errDamaged, n, len(b))
	}
	p.at += n
	return &p.header, b, nil
}

// whole decompresses a page. The first bytes of it, the levels of some, are not compressed.
func (p *pages) whole(src []byte, plain int, compressed bool) ([]byte, error) {
	full := int(p.header.UncompressedPageSize)
	if plain > len(src) || plain > full {
		return nil, fmt.Errorf("%w: a page of %d bytes has %d bytes of levels", errDamaged, len(src), plain)
	}
	if !compressed || p.codec == compress.Codecs.Uncompressed {
		if len(src) != full {
			return nil, fmt.Errorf("%w: a page has %d bytes, its header says %d", errDamaged, len(src), full)
		}
		return src, nil
	}
	p.body = slices.Grow(p.body[:0], full)[:full]
	copy(p.body, src[:plain])
	if full == plain {
		return p.body, nil
	}
	n, err := decompress(p.codec, p.body[plain:], src[plain:])
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing a page: %w", errDamaged, err)
	}
	if n != full-plain {
		return nil, fmt.Errorf("%w: a page has %d bytes, its header says %d", errDamaged, plain+n, full)
	}
	return p.body, nil
}

// contexts are libzstd's, which take 160 KB each. They hold nothing of what was decompressed.
var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

func decompress(codec compress.Compression, dst, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if codec == compress.Codecs.Zstd {
		c, ok := contexts.Get().(zstd.Ctx)
		if !ok {
			return 0, errors.New("no context of zstd")
		}
		defer contexts.Put(c)
		return c.DecompressInto(dst, src)
	}
	out, err := parquet.Snappy.Decode(dst, src)
	if err == nil && len(out) == len(dst) && &out[0] != &dst[0] {
		copy(dst, out)
	}
	return len(out), err
}
