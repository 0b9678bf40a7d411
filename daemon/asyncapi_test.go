package daemon

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// topicRow is a topic as docs/asyncapi.json describes it.
type topicRow struct {
	channel, address string
	what             string
	parameter, of    string // of the address
	sends            bool   // whether the daemon or a worker does
	retained         bool
	payload          any // a value of the message's type; nil for what is no business of others
	inWords          bool
}

// topicTable has a row for each topic that people and their tools may use.
func topicTable() map[string]topicRow {
	return map[string]topicRow{
		"Control": {channel: "control", what: "A command, in words or as JSON. A retained one is refused.", payload: Command{}, inWords: true},
		"ControlResponse": {channel: "controlResponse", what: "What became of a command; on the response topic where MQTT 5 gave one, with its correlation data.",
			sends: true, payload: Answer{}},
		"Status": {channel: "status", what: "The daemon; its last will says offline.", sends: true, retained: true, payload: protocol.DaemonStatus{}},
		"Stream": {channel: "stream", what: "How a stream stands, as GET /v1/streams/{stream} says.", parameter: "stream", of: "the stream's name", sends: true,
			retained: true, payload: client.Status{}},
		"Changes": {channel: "changes", what: "Every committed change of a record, in the order of seq, where broker { changes } is true.", parameter: "stream",
			of: "the stream's name", sends: true, payload: client.Record{}},
		"Worker": {channel: "worker", what: "A worker's presence; its last will says offline.", parameter: "worker", of: "the worker's name", sends: true,
			retained: true, payload: protocol.Presence{}},
	}
}

// between are the topics of daemon and workers, which are not for others.
func between() []string {
	return []string{"Commands", "Answers", "Pages", "Heartbeat"}
}

// Every topic is described, or declared to be nobody else's, and the document is what the code says; HUBPIPE_WRITE_DOCS=1 writes it anew.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	const path = "../docs/asyncapi.json"
	topics := protocol.Topics{Prefix: "hubpipe"}
	rows := topicTable()
	channels, operations := map[string]any{}, map[string]any{}
	values := map[string]any{}
	v := reflect.ValueOf(topics)
	for m := range v.Type().Methods() {
		row, known := rows[m.Name]
		if !known {
			if topic := m.Type.NumOut() == 1 && m.Type.Out(0).Kind() == reflect.String && !strings.HasSuffix(m.Name, "Client"); topic && !slices.Contains(between(), m.Name) {
				t.Errorf("the topic %s is not described", m.Name)
			}
			continue
		}
		delete(rows, m.Name)
		var in []reflect.Value
		if row.parameter != "" {
			in = append(in, reflect.ValueOf("{"+row.parameter+"}"))
		}
		row.address = v.MethodByName(m.Name).Call(in)[0].String()
		message := map[string]any{"name": row.channel, "contentType": "application/json", "payload": map[string]any{"$ref": "#/components/schemas/" + reflect.TypeOf(row.payload).Name()}}
		messages := map[string]any{"json": message}
		if row.inWords {
			messages["words"] = map[string]any{"name": "words", "contentType": "text/plain", "payload": map[string]any{"type": "string", "description": grammar,
				"examples": []string{"start contacts every 5m", "stop contacts", "sync contacts record 123", "reconcile all accept deletes", "status"}}}
		}
		c := map[string]any{"address": row.address, "description": row.what, "messages": messages,
			"bindings": map[string]any{"mqtt": map[string]any{}}}
		if row.parameter != "" {
			c["parameters"] = map[string]any{row.parameter: map[string]any{"description": row.of}}
		}
		channels[row.channel] = c
		action := "receive"
		if row.sends {
			action = "send"
		}
		op := map[string]any{"action": action, "channel": map[string]any{"$ref": "#/channels/" + row.channel}, "summary": row.what,
			"bindings": map[string]any{"mqtt": map[string]any{"qos": 1, "retain": row.retained}}}
		if row.channel == "control" {
			op["reply"] = map[string]any{"channel": map[string]any{"$ref": "#/channels/controlResponse"}}
		}
		operations[action+strings.ToUpper(row.channel[:1])+row.channel[1:]] = op
		values[reflect.TypeOf(row.payload).Name()] = row.payload
	}
	for name := range rows {
		t.Errorf("%s is described and is no topic", name)
	}
	schemas, err := api.Schemas(values)
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{"asyncapi": "3.0.0",
		"info": map[string]any{"title": "hubpipe on the message bus", "version": "1.0.0", "license": map[string]any{"name": "Apache 2.0"},
			"description": "Topics begin with the prefix of the configuration, hubpipe by default. MQTT 3.1.1 and 5."},
		"servers": map[string]any{"embedded": map[string]any{"host": "127.0.0.1:1883", "protocol": "mqtt", "description": "hubpipe's own broker",
			"security": []any{map[string]any{"$ref": "#/components/securitySchemes/user"}}}},
		"defaultContentType": "application/json",
		"channels":           channels, "operations": operations,
		"components": map[string]any{"schemas": schemas, "securitySchemes": map[string]any{"user": map[string]any{"type": "userPassword",
			"description": "hubpipe, and what `hubpipe token` prints"}}}}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("HUBPIPE_WRITE_DOCS") != "" {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(was), b.String()); diff != "" {
		t.Errorf("docs/asyncapi.json is not what the code says; run make docs:\n%s", diff)
	}
}
