package spark

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/beltran/gohive"
	"github.com/beltran/gohive/hiveserver"
)

const (
	dialTimeout = 10 * time.Second
	// longestPoll bounds the pause between two questions whether a statement has ended.
	longestPoll = time.Second
	// fetchRows are asked for at a time.
	fetchRows = 10_000
	// longestMessage bounds an answer of the server, in bytes.
	longestMessage = 1 << 30
)

// session is one of HiveServer2's protocol, on a connection of its own. It is for one goroutine. When the context ends that it was
// opened with, the connection is closed, and the server then ends the session with what runs in it.
type session struct {
	conn   net.Conn
	client *hiveserver.TCLIServiceClient
	handle *hiveserver.TSessionHandle
	stop   func() bool // watching the context
}

// refused is an answer of the server that something went wrong.
type refused struct{ message, state string }

func (r *refused) Error() string { return r.message }

func open(ctx context.Context, address string, secure *tls.Config, login login) (s *session, err error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	var conn net.Conn
	if secure != nil {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which fails what waits for it
	defer func() {
		if err != nil {
			stop()
			_ = conn.Close() // the error that is returned says more
		}
	}()
	settings := &thrift.TConfiguration{ConnectTimeout: dialTimeout, MaxMessageSize: longestMessage, MaxFrameSize: longestMessage}
	var transport thrift.TTransport = thrift.NewTSocketFromConnConf(conn, settings)
	if login.sasl {
		host, _, _ := net.SplitHostPort(address)
		password := login.password
		if password == "" {
			password = "x" // the mechanism has no empty one
		}
		transport, err = gohive.NewTSaslTransport(transport, host, "PLAIN", map[string]string{"username": login.user, "password": password}, longestMessage)
		if err == nil {
			err = transport.Open()
		}
		if err != nil {
			return nil, fmt.Errorf("logging in: %w", err)
		}
	} else {
		transport = thrift.NewTBufferedTransport(transport, 1<<16)
	}
	client := hiveserver.NewTCLIServiceClientFactory(transport, thrift.NewTBinaryProtocolFactoryConf(settings))
	answer, err := client.OpenSession(ctx, &hiveserver.TOpenSessionReq{ClientProtocol: hiveserver.TProtocolVersion_HIVE_CLI_SERVICE_PROTOCOL_V6, Username: &login.user, Password: &login.password})
	if err == nil {
		err = failure(answer.GetStatus())
	}
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	return &session{conn, client, answer.SessionHandle, stop}, nil
}

// close ends the session.
func (s *session) close() {
	if s.stop() { // the context has not closed it
		_ = s.conn.SetDeadline(time.Now().Add(dialTimeout))
		// The server ends the session with the connection in any case.
		_, _ = s.client.CloseSession(context.Background(), &hiveserver.TCloseSessionReq{SessionHandle: s.handle})
		_ = s.conn.Close()
	}
}

// run runs a statement to its end, and calls each with every row; nil: they are left.
func (s *session) run(ctx context.Context, statement string, columns int, each func(row []any) error) error {
	answer, err := s.client.ExecuteStatement(ctx, &hiveserver.TExecuteStatementReq{SessionHandle: s.handle, Statement: statement, RunAsync: true})
	if err == nil {
		err = failure(answer.GetStatus())
	}
	if err != nil {
		return err
	}
	op := answer.OperationHandle
	if err := s.wait(ctx, op); err != nil {
		return err
	}
	if each != nil && op.HasResultSet {
		if err := s.fetch(ctx, op, columns, each); err != nil {
			return err
		}
	}
	closed, err := s.client.CloseOperation(ctx, &hiveserver.TCloseOperationReq{OperationHandle: op})
	if err == nil {
		err = failure(closed.GetStatus())
	}
	return err
}

func (s *session) wait(ctx context.Context, op *hiveserver.TOperationHandle) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, longestPoll) {
		answer, err := s.client.GetOperationStatus(ctx, &hiveserver.TGetOperationStatusReq{OperationHandle: op})
		if err == nil {
			err = failure(answer.GetStatus())
		}
		if err != nil {
			return err
		}
		switch state := answer.GetOperationState(); state {
		case hiveserver.TOperationState_FINISHED_STATE:
			return nil
		case hiveserver.TOperationState_INITIALIZED_STATE, hiveserver.TOperationState_RUNNING_STATE, hiveserver.TOperationState_PENDING_STATE:
		default:
			if m := answer.GetErrorMessage(); m != "" {
				return &refused{m, answer.GetSqlState()}
			}
			return &refused{fmt.Sprintf("the statement ended in the state %v", state), ""}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (s *session) fetch(ctx context.Context, op *hiveserver.TOperationHandle, columns int, each func(row []any) error) error {
	row := make([]any, columns)
	for {
		answer, err := s.client.FetchResults(ctx, &hiveserver.TFetchResultsReq{OperationHandle: op, Orientation: hiveserver.TFetchOrientation_FETCH_NEXT, MaxRows: fetchRows})
		if err == nil {
			err = failure(answer.GetStatus())
		}
		if err != nil {
			return err
		}
		all := answer.GetResults().GetColumns()
		if len(all) != columns {
			return fmt.Errorf("the result has %d columns instead of %d", len(all), columns)
		}
		rows := -1
		values := make([]func(i int) any, columns)
		for i, c := range all {
			get, n := reader(c)
			if get == nil || rows >= 0 && n != rows {
				return fmt.Errorf("column %d of the result has a form that is not known: %v", i+1, c)
			}
			values[i], rows = get, n
		}
		if rows <= 0 {
			return nil
		}
		for i := range rows {
			for j, get := range values {
				row[j] = get(i)
			}
			if err := each(row); err != nil {
				return err
			}
		}
	}
}

// reader gives the values of a column, and how many there are.
func reader(c *hiveserver.TColumn) (get func(i int) any, rows int) {
	switch {
	case c.BoolVal != nil:
		return values(c.BoolVal.Values, c.BoolVal.Nulls, func(v bool) any { return v })
	case c.ByteVal != nil:
		return values(c.ByteVal.Values, c.ByteVal.Nulls, func(v int8) any { return int64(v) })
	case c.I16Val != nil:
		return values(c.I16Val.Values, c.I16Val.Nulls, func(v int16) any { return int64(v) })
	case c.I32Val != nil:
		return values(c.I32Val.Values, c.I32Val.Nulls, func(v int32) any { return int64(v) })
	case c.I64Val != nil:
		return values(c.I64Val.Values, c.I64Val.Nulls, func(v int64) any { return v })
	case c.DoubleVal != nil:
		return values(c.DoubleVal.Values, c.DoubleVal.Nulls, func(v float64) any { return v })
	case c.StringVal != nil:
		return values(c.StringVal.Values, c.StringVal.Nulls, func(v string) any { return v })
	case c.BinaryVal != nil:
		return values(c.BinaryVal.Values, c.BinaryVal.Nulls, func(v []byte) any { return v })
	}
	return nil, 0
}

// values reads a column whose nulls are a bitmap, which may end before the values do.
func values[T any](all []T, nulls []byte, of func(T) any) (get func(i int) any, rows int) {
	return func(i int) any {
		if i/8 < len(nulls) && nulls[i/8]&(1<<(i%8)) != 0 {
			return nil
		}
		return of(all[i])
	}, len(all)
}

// failure is the error that a status stands for.
func failure(s *hiveserver.TStatus) error {
	switch {
	case s == nil:
		return errors.New("the server's answer has no status")
	case s.StatusCode == hiveserver.TStatusCode_SUCCESS_STATUS, s.StatusCode == hiveserver.TStatusCode_SUCCESS_WITH_INFO_STATUS, s.StatusCode == hiveserver.TStatusCode_STILL_EXECUTING_STATUS:
		return nil
	case s.ErrorMessage != nil:
		return &refused{*s.ErrorMessage, s.GetSqlState()}
	}
	return &refused{"the server says " + s.StatusCode.String(), s.GetSqlState()}
}
