package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// str is an MQTT string or binary.
func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// frame is a whole packet of parts.
func frame(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := []byte{first}
	n := len(body)
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			out = append(out, b|0x80)
			continue
		}
		return append(append(out, b), body...)
	}
}

// connect is a CONNECT with clean start, and user and will where they are given.
func connect(version byte, id, user, password, willTopic string) []byte {
	flags := byte(0x02)
	parts := [][]byte{str("MQTT"), {version, 0}, {0, 30}, props(version), str(id)}
	if willTopic != "" {
		flags |= 0x04
		parts = append(parts, props(version), str(willTopic), str("gone"))
	}
	if user != "" {
		flags |= 0xc0
		parts = append(parts, str(user), str(password))
	}
	parts[1][1] = flags
	return frame(0x10, parts...)
}

func props(version byte, p ...byte) []byte {
	if version < 5 {
		return nil
	}
	return append([]byte{byte(len(p))}, p...)
}

// samples are good packets of every type that a client may send after login.
func samples(version byte) map[string][]byte {
	id, qos := []byte{0, 1}, []byte{1}
	return map[string][]byte{
		"publish0":    frame(0x30, str("a/b"), props(version), []byte("payload")),
		"publish1":    frame(0x32, str("a/b"), id, props(version, 2, 0, 0, 0, 9), []byte("payload")),
		"puback":      frame(0x40, id),
		"pubrec":      frame(0x50, id),
		"pubrel":      frame(0x62, id),
		"pubcomp":     frame(0x70, id),
		"subscribe":   frame(0x82, id, props(version), str("a/+"), qos, str("b/#"), qos),
		"unsubscribe": frame(0xa2, id, props(version), str("a/+")),
		"ping":        frame(0xc0),
		"disconnect":  frame(0xe0),
	}
}

func check(f []byte, version byte) error {
	var buf bytes.Buffer
	body, err := readFrame(bufio.NewReader(bytes.NewReader(f)), &buf, 1<<20, false)
	if err != nil {
		return err
	}
	_, err = checkFrame(buf.Bytes()[0], buf.Bytes()[body:], version)
	return err
}

func TestCheckFrame(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{3, 4, 5} {
		for name, f := range samples(version) {
			if err := check(f, version); err != nil {
				t.Errorf("v%d %s: %v", version, name, err)
			}
			if err := check(f, 0); !errors.Is(err, errNotConnect) {
				t.Errorf("v%d %s before CONNECT: %v", version, name, err)
			}
		}
	}
	for _, version := range []byte{4, 5} {
		c := connect(version, "x", "hubpipe", "p", "will")
		if err := check(c, 0); err != nil {
			t.Errorf("v%d: %v", version, err)
		}
		if err := check(c, version); !errors.Is(err, errConnectTwice) {
			t.Errorf("v%d twice: %v", version, err)
		}
	}
	id := []byte{0, 1}
	for name, f := range map[string][]byte{
		"connack":                    frame(0x20, []byte{0, 0, 0}),
		"auth":                       frame(0xf0),
		"type 0":                     frame(0x00),
		"pingresp":                   frame(0xd0),
		"ping with a body":           frame(0xc0, []byte{1}),
		"qos 3":                      frame(0x36, str("a"), id, props(5)),
		"no topic":                   frame(0x30, str(""), props(5)),
		"wildcard publish":           frame(0x30, str("a/+"), props(5)),
		"publish below $SYS":         frame(0x30, str("$SYS/x"), props(5)),
		"topic alias":                frame(0x30, str("a"), props(5, 35, 0, 1)),
		"alias for a topic":          frame(0x30, str(""), props(5, 35, 0, 1)),
		"packet id 0":                frame(0x32, str("a"), []byte{0, 0}, props(5)),
		"nul in a topic":             frame(0x30, str("a\x00b"), props(5)),
		"not utf-8":                  frame(0x30, str("a\xffb"), props(5)),
		"wildcard response topic":    frame(0x30, str("a"), props(5, 8, 0, 1, '#')),
		"no filters":                 frame(0x82, id, props(5)),
		"bad filter":                 frame(0x82, id, props(5), str("a+"), []byte{1}),
		"empty filter":               frame(0x82, id, props(5), str(""), []byte{1}),
		"many filters":               frame(0x82, id, props(5), bytes.Repeat(append(str("a"), 0), 129)),
		"subscribe without options":  frame(0x82, id, props(5), str("a")),
		"subscribe with wrong flags": frame(0x80, id, props(5), str("a"), []byte{0}),
		"puback 0":                   frame(0x40, []byte{0, 0}),
		"many user properties":       frame(0x30, str("a"), []byte{0xc5, 2}, bytes.Repeat([]byte{38, 0, 0, 0, 0}, 65)),
	} {
		if err := check(f, 5); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := check(connect(6, "x", "", "", ""), 0); err == nil {
		t.Error("version 6: taken")
	}
}

func TestReadFrame(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	read := func(b []byte, limit int) error {
		_, err := readFrame(bufio.NewReader(bytes.NewReader(b)), &buf, limit, false)
		return err
	}
	whole := frame(0x30, make([]byte, 300))
	if err := read(whole, len(whole)); err != nil || !bytes.Equal(buf.Bytes(), whole) {
		t.Errorf("a packet just at the limit: %v", err)
	}
	if err := read(whole, len(whole)-1); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("a packet above the limit: %v", err)
	}
	if err := read(whole[:200], 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut packet: %v", err)
	}
	if err := read([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0}, 1000); !errors.Is(err, errFrameLength) {
		t.Errorf("a length of five bytes: %v", err)
	}
	if err := read(nil, 1000); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
	// An announcement costs nothing before its bytes come.
	buf = bytes.Buffer{}
	if err := read([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 300<<20); err == nil || buf.Cap() > 4096 {
		t.Errorf("256 MB announced: %v, %d bytes allocated", err, buf.Cap())
	}
}

// Every packet cut at every length, with a length that claims that it is
// whole, ends without a panic.
func TestCutPackets(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{3, 4, 5} {
		all := samples(version)
		all["connect"] = connect(version, "x", "hubpipe", "p", "will")
		for name, f := range all {
			v := version
			if name == "connect" {
				v = 0
			}
			for n := 2; n <= len(f); n++ {
				_, _ = checkFrame(f[0], f[2:n], v)
			}
		}
	}
	// The one that ends an unguarded broker: only recover stands before it.
	_, err := checkFrame(0x82, append([]byte{0, 1, 0}, str("a")...), 5)
	if err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
		t.Errorf("a SUBSCRIBE without options: %v", err)
	}
}

// Whatever comes: no panic, and what is taken decodes again in the same way.
func FuzzFrames(f *testing.F) {
	for _, version := range []byte{3, 4, 5} {
		for _, s := range samples(version) {
			f.Add(s, version)
			f.Add(s[:len(s)-1], version)
		}
		f.Add(connect(version, "x", "hubpipe", "p", "will"), byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, version byte) {
		if version > 5 || version > 0 && version < 3 {
			version = 5
		}
		var buf bytes.Buffer
		body, err := readFrame(bufio.NewReader(bytes.NewReader(data)), &buf, 1<<16, version == 0)
		if err != nil {
			return
		}
		pk, err := checkFrame(buf.Bytes()[0], buf.Bytes()[body:], version)
		if err != nil {
			return
		}
		if pk.FixedHeader.Type == packets.Publish && (pk.TopicName == "" || strings.ContainsAny(pk.TopicName, "+#\x00")) {
			t.Fatalf("a publish to %q was taken", pk.TopicName)
		}
		again := packets.Packet{FixedHeader: pk.FixedHeader, ProtocolVersion: version}
		if err := decode(&again, buf.Bytes()[body:]); err != nil {
			t.Fatalf("the decoder changed its mind: %v", err)
		}
	})
}
