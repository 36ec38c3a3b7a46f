package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	bulkSize    = 1000 // objects of one DeleteObjects request, the most that S3 takes
	bulkWorkers = 8    // requests at a time
)

// DeleteAll removes objects, as many in a request as the store takes. Removing one that is not there is no error. After an
// error some of them may be gone; asking again is right.
func DeleteAll(ctx context.Context, s Store, uris []string) error {
	remove, size := func(ctx context.Context, uris []string) error { return s.Delete(ctx, uris[0]) }, 1
	if bulk, ok := s.(*s3Store); ok {
		remove, size = bulk.deleteMany, bulkSize
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(bulkWorkers)
	for part := range slices.Chunk(uris, size) {
		if each.Err() != nil {
			break
		}
		g.Go(func() error { return remove(each, part) })
	}
	return cmp.Or(g.Wait(), context.Cause(ctx))
}

// deleteMany removes up to bulkSize objects, of one bucket in one request.
func (s *s3Store) deleteMany(ctx context.Context, uris []string) error {
	keys := map[string][]types.ObjectIdentifier{}
	for _, uri := range uris {
		bucket, key, err := splitS3(uri)
		if err != nil {
			return err
		}
		keys[bucket] = append(keys[bucket], types.ObjectIdentifier{Key: &key})
	}
	for bucket, ids := range keys {
		out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
		if err != nil {
			return s.classify("delete", bucket, aws.ToString(ids[0].Key)+" and others", err)
		}
		var errs []error
		for _, e := range out.Errors {
			if code := aws.ToString(e.Code); code != "NoSuchKey" && len(errs) < 3 {
				errs = append(errs, fmt.Errorf("delete s3://%s/%s: %s: %s", bucket, aws.ToString(e.Key), code, aws.ToString(e.Message)))
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}
