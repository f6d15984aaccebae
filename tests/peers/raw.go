// A service of gRPC whose messages are bytes, and a client that tries all of it: `raw serve` prints its port and serves,
// `raw call HOST:PORT` prints `ok` or fails. Written for grpc-go as Debian has it, without generated code.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const large = 10 << 20

// Bytes as they are.
type raw struct{}

func (raw) Marshal(value interface{}) ([]byte, error) { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, value interface{}) error {
	*value.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (raw) Name() string   { return "proto" }
func (raw) String() string { return "proto" }

var hanging int32

func handle(_ interface{}, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var message []byte
	if method == "/test.Raw/Sum" || method == "/test.Raw/Chat" {
		return streamed(method, stream)
	}
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	switch method {
	case "/test.Raw/Echo":
		sent, _ := metadata.FromIncomingContext(stream.Context())
		answered := metadata.MD{}
		for key, values := range sent {
			if len(key) > 2 && key[:2] == "x-" && key != "x-request-id" && key != "x-forwarded-for" {
				answered[key] = values
			}
		}
		if err := stream.SendHeader(answered); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("x-end", "yes", "x-end-bin", "\x00\xff"))
		return stream.SendMsg(&message)
	case "/test.Raw/Fail":
		stream.SetTrailer(metadata.Pairs("x-why", "because"))
		return status.Error(codes.FailedPrecondition, "n\u00f6: 100 %")
	case "/test.Raw/Count":
		for number := byte(0); number < message[0]; number++ {
			if err := stream.SendMsg(&[]byte{number}); err != nil {
				return err
			}
		}
		return nil
	case "/test.Raw/Hang":
		atomic.AddInt32(&hanging, 1)
		<-stream.Context().Done()
		atomic.AddInt32(&hanging, -1)
		return stream.Context().Err()
	case "/test.Raw/Hangs":
		answer := []byte(strconv.Itoa(int(atomic.LoadInt32(&hanging))))
		return stream.SendMsg(&answer)
	case "/test.Raw/Left":
		deadline, _ := stream.Context().Deadline()
		answer := []byte(strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
		return stream.SendMsg(&answer)
	}
	return status.Error(codes.Unimplemented, method)
}

func streamed(method string, stream grpc.ServerStream) error {
	var all []byte
	for {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if method == "/test.Raw/Chat" {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
		all = append(all, message...)
	}
	if method == "/test.Raw/Chat" {
		return nil
	}
	return stream.SendMsg(&all)
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "a port, not", err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := grpc.NewServer(grpc.CustomCodec(raw{}), grpc.UnknownServiceHandler(handle), grpc.MaxRecvMsgSize(2*large))
	check(server.Serve(listener) == nil, "to serve")
}

func check(holds bool, expected ...interface{}) {
	if !holds {
		fmt.Fprintln(os.Stderr, append([]interface{}{"expected"}, expected...)...)
		os.Exit(1)
	}
}

func within(limit time.Duration) context.Context {
	ctx, _ := context.WithTimeout(context.Background(), limit)
	return ctx
}

func call(address string) {
	options := grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(2*large))
	conn, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithBlock(), options)
	check(err == nil, "a connection, not", err)
	one := func(ctx context.Context, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
		var answer []byte
		err := conn.Invoke(ctx, method, &message, &answer, options...)
		return answer, err
	}
	long := 30 * time.Second

	var head, end metadata.MD
	ctx := metadata.AppendToOutgoingContext(within(long), "x-bytes-bin", "\x00\xff\n")
	answer, err := one(ctx, "/test.Raw/Echo", []byte("hi"), grpc.Header(&head), grpc.Trailer(&end))
	check(err == nil && string(answer) == "hi", "hi, not", string(answer), err)
	check(len(head["x-bytes-bin"]) == 1 && head["x-bytes-bin"][0] == "\x00\xff\n", "metadata, not", head)
	check(len(end["x-end"]) == 1 && end["x-end-bin"][0] == "\x00\xff", "trailers, not", end)

	message := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	answer, err = one(within(long), "/test.Raw/Echo", message)
	check(err == nil && bytes.Equal(answer, message), "ten mebibytes, not", len(answer), err)

	_, err = one(within(long), "/test.Raw/Fail", nil, grpc.Trailer(&end))
	said := status.Convert(err)
	check(said.Code() == codes.FailedPrecondition && said.Message() == "n\u00f6: 100 %", "a refusal, not", said)
	check(len(end["x-why"]) == 1, "a reason, not", end)

	stream, err := conn.NewStream(within(long), &grpc.StreamDesc{ServerStreams: true}, "/test.Raw/Count")
	check(err == nil && stream.SendMsg(&[]byte{5}) == nil && stream.CloseSend() == nil, "a stream, not", err)
	for number := byte(0); number < 5; number++ {
		check(stream.RecvMsg(&answer) == nil && answer[0] == number, number)
	}
	check(stream.RecvMsg(&answer) == io.EOF, "an end")

	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err = conn.NewStream(within(long), both, "/test.Raw/Chat")
	check(err == nil, "a stream, not", err)
	for number := byte(0); number < 10; number++ {
		check(stream.SendMsg(&[]byte{number}) == nil, "to send")
		check(stream.RecvMsg(&answer) == nil && answer[0] == number, number)
	}
	check(stream.CloseSend() == nil && stream.RecvMsg(&answer) == io.EOF, "an end")

	answer, err = one(within(2*time.Second), "/test.Raw/Left", []byte("?"))
	left, _ := strconv.Atoi(string(answer))
	check(err == nil && 1000 < left && left <= 2000, "what is left of two seconds, not", left, err)

	nobodyHangs := func() {
		until := time.Now().Add(5 * time.Second)
		for {
			answer, err := one(within(long), "/test.Raw/Hangs", []byte("?"))
			if err == nil && string(answer) == "0" {
				return
			}
			check(time.Now().Before(until), "nobody to hang, not", string(answer), err)
			time.Sleep(10 * time.Millisecond)
		}
	}
	_, err = one(within(300*time.Millisecond), "/test.Raw/Hang", []byte("?"))
	check(status.Code(err) == codes.DeadlineExceeded, "a deadline, not", err)
	nobodyHangs()

	ctx, cancel := context.WithCancel(within(long))
	go one(ctx, "/test.Raw/Hang", []byte("?"))
	for until := time.Now().Add(long); ; {
		if answer, _ := one(within(long), "/test.Raw/Hangs", []byte("?")); string(answer) == "1" {
			break
		}
		check(time.Now().Before(until), "a call that hangs")
	}
	cancel()
	nobodyHangs()

	_, err = one(within(long), "/nobody.Serves/This", []byte("?"))
	check(status.Code(err) == codes.Unimplemented, "no route, not", err)
	fmt.Println("ok")
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		call(os.Args[2])
	}
}
