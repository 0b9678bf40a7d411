package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Reasons for which the guard closes a connection.
var (
	errFrameTooLarge = errors.New("a packet is larger than the limit")
	errFrameLength   = errors.New("a packet's length does not parse")
	errFrameType     = errors.New("a packet of a type that no client may send")
	errNotConnect    = errors.New("the first packet is not a CONNECT")
	errConnectTwice  = errors.New("a second CONNECT")
	errTopic         = errors.New("a topic or filter is not valid")
	errAlias         = errors.New("a topic alias, which is switched off")
	errTooMany       = errors.New("too many filters or properties in one packet")
)

// How much memory a packet gets at first, and then at a time: nearly all pages
// take one step of each.
const (
	firstStep = 2 << 10
	frameStep = 64 << 10
)

// Bounds of what one packet may hold; real clients stay far below.
const (
	maxFilters        = 128
	maxUserProperties = 64
)

// readFrame reads one whole packet into buf: its first byte, its length and
// its body. A length above the limit is refused before anything is allocated,
// and a body takes memory only as it arrives. Before login nothing but a CONNECT
// is read any further than its first byte.
func readFrame(r *bufio.Reader, buf *bytes.Buffer, limit int, login bool) (body int, err error) {
	buf.Reset()
	first, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	if login && first != packets.Connect<<4 {
		return 0, errNotConnect
	}
	buf.WriteByte(first)
	n := 0
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return 0, errFrameLength
		}
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		buf.WriteByte(b)
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
	}
	body = buf.Len()
	if body+n > limit {
		return 0, errFrameTooLarge
	}
	// A length is only a promise: what comes first is little.
	for step := min(n, firstStep); n > 0; step = min(n, frameStep) {
		// With the room that the buffer wants for itself, else it would double.
		buf.Grow(step + bytes.MinRead)
		if _, err := io.CopyN(buf, r, int64(step)); err != nil {
			return 0, unexpected(err)
		}
		n -= step
	}
	return body, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkFrame tries a packet with the broker's own decoder, whose panics end
// here and not the process, and adds the checks that it lacks. The version is
// the connection's, 0 before CONNECT. The packet that is returned shares the
// body's memory.
func checkFrame(first byte, body []byte, version byte) (pk packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a packet cannot be decoded: %v", r)
		}
	}()
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	connect := pk.FixedHeader.Type == packets.Connect
	switch {
	case version == 0 && !connect:
		return pk, errNotConnect
	case version != 0 && connect:
		return pk, errConnectTwice
	}
	pk.ProtocolVersion = version
	if err := decode(&pk, body); err != nil {
		return pk, err
	}
	if len(pk.Properties.User) > maxUserProperties || len(pk.Connect.WillProperties.User) > maxUserProperties {
		return pk, errTooMany
	}
	return pk, validate(&pk)
}

// decode calls the decoder for the type, for those that a client may send.
func decode(pk *packets.Packet, body []byte) error {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectDecode(body)
	case packets.Publish:
		return pk.PublishDecode(body)
	case packets.Puback:
		return pk.PubackDecode(body)
	case packets.Pubrec:
		return pk.PubrecDecode(body)
	case packets.Pubrel:
		return pk.PubrelDecode(body)
	case packets.Pubcomp:
		return pk.PubcompDecode(body)
	case packets.Subscribe:
		return pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		return pk.UnsubscribeDecode(body)
	case packets.Pingreq:
		if len(body) > 0 {
			return errFrameLength
		}
		return nil
	case packets.Disconnect:
		return pk.DisconnectDecode(body)
	default:
		return errFrameType
	}
}

// validate holds a packet that decodes against what MQTT says of its content.
func validate(pk *packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if code := pk.ConnectValidate(); code != packets.CodeSuccess {
			return code
		}
	case packets.Publish:
		if pk.Properties.TopicAliasFlag {
			return errAlias
		}
		if code := pk.PublishValidate(0); code != packets.CodeSuccess {
			return code
		}
		// The broker would leave a publish below "$SYS" without an answer.
		if !validTopic(pk.TopicName, false) || pk.TopicName[0] == '$' {
			return errTopic
		}
		if r := pk.Properties.ResponseTopic; r != "" && !validTopic(r, false) {
			return errTopic
		}
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		if pk.PacketID == 0 {
			return packets.ErrProtocolViolationNoPacketID
		}
	case packets.Subscribe:
		if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
			return code
		}
		return validFilters(pk.Filters)
	case packets.Unsubscribe:
		if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
			return code
		}
		return validFilters(pk.Filters)
	}
	return nil
}

func validFilters(filters packets.Subscriptions) error {
	if len(filters) > maxFilters {
		return errTooMany
	}
	for _, f := range filters {
		if !validTopic(f.Filter, true) {
			return errTopic
		}
	}
	return nil
}
