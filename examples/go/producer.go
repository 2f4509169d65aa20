// An application's part of a cut-over: publishes the events of its own writes, as the bridge would (docs/cutover.md).
//
//	producer SERVERS SCHEMA PREFIX < DOCUMENTS
//
// DOCUMENTS holds JSON documents, one a line. Needs github.com/nats-io/nats.go and
// github.com/santhosh-tekuri/jsonschema/v6.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Producer publishes what the application has written.
type Producer struct {
	js     jetstream.JetStream
	schema *jsonschema.Schema
	prefix string
}

// token makes a value one token of a subject, escaped as the bridge does it: letters, digits, -, _ and ~ stay.
func token(value any) string {
	var text strings.Builder
	for _, b := range []byte(fmt.Sprint(value)) {
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-_~", b) >= 0 {
			text.WriteByte(b)
		} else {
			fmt.Fprintf(&text, "%%%02X", b)
		}
	}
	return text.String()
}

// Created is called after the write, and before the answer to the user. False: the event is stored already, by an
// earlier attempt or by the bridge, which is as good.
func (p *Producer) Created(ctx context.Context, body []byte) (id any, stored bool, err error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	message, ok := value.(map[string]any)
	if !ok {
		return nil, false, errors.New("the document is not an object")
	}
	id = message["_id"]
	if err := p.schema.Validate(value); err != nil {
		return id, false, err
	}
	subject := p.prefix + "." + token(message["room"]) + ".created"
	for attempt := 1; ; attempt++ {
		// The same id for each attempt, so that the event is stored once, however many of them arrive.
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		ack, err := p.js.Publish(once, subject, body, jetstream.WithMsgID(fmt.Sprintf("%v.created", id)))
		cancel()
		if err == nil {
			return id, !ack.Duplicate, nil
		}
		// It may have been stored or not.
		if attempt == 20 {
			return id, false, err
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func run(servers, schema, prefix string) error {
	compiled, err := jsonschema.NewCompiler().Compile(schema)
	if err != nil {
		return err
	}
	connection, err := nats.Connect(servers, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	producer := &Producer{js, compiled, prefix}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		id, stored, err := producer.Created(context.Background(), lines.Bytes())
		var invalid *jsonschema.ValidationError
		switch {
		case errors.As(err, &invalid):
			fmt.Println(id, "invalid:", invalid)
		case err != nil:
			return err
		case stored:
			fmt.Println(id, "stored")
		default:
			fmt.Println(id, "duplicate")
		}
	}
	return lines.Err()
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: producer SERVERS SCHEMA PREFIX < DOCUMENTS")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
