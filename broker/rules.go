package broker

import (
	"strings"
	"unicode/utf8"
)

// Action is what somebody wants to do with a topic.
type Action uint8

// The actions. A last will is a publish.
const (
	Publish   Action = iota + 1 // send to a topic
	Subscribe                   // ask for a topic or a filter
	Deliver                     // be given a message on a topic
)

// Allowed is the whole of the access rules: what is not named here is denied.
// Filters are allowed only where every topic that they match is the
// identity's; shared subscriptions and all else that begins with "$" are
// nobody's, however they are spelled.
func Allowed(who Identity, prefix, topic string, action Action) bool {
	if prefix == "" || topic == "" || topic[0] == '$' || !validTopic(topic, action == Subscribe) {
		return false
	}
	inside, below := underPrefix(prefix, topic)
	switch action {
	case Publish:
		return mayPublish(who, inside, topic, prefix, below)
	case Subscribe, Deliver:
		return mayRead(who, inside, below)
	default:
		return false
	}
}

// place says where a topic or filter lies.
type place uint8

const (
	outside place = iota // matches nothing at or below the prefix
	across               // a filter whose wildcards reach into the prefix
	within               // spelled out below the prefix
)

func mayPublish(who Identity, where place, topic, prefix string, below []string) bool {
	switch who.Role {
	case RoleDaemon:
		return where == outside || len(below) > 0
	case RoleWorker:
		return where == within && len(below) >= 2 && below[0] == "workers" && below[1] == who.Name && validName(who.Name) &&
			(len(below) == 2 || len(below) == 3 && (below[2] == "pages" || below[2] == "heartbeat"))
	case RoleControl:
		return where == outside || topic == prefix+"/control"
	default:
		return false
	}
}

func mayRead(who Identity, where place, below []string) bool {
	switch who.Role {
	case RoleDaemon:
		return true
	case RoleWorker:
		if where != within || len(below) == 0 {
			return false
		}
		return len(below) == 1 && below[0] == "status" ||
			len(below) >= 2 && below[0] == "workers" && below[1] == who.Name && validName(who.Name)
	case RoleControl, RoleReader:
		if where == outside {
			return who.Role == RoleControl
		}
		if where != within || len(below) == 0 {
			return false
		}
		switch below[0] {
		case "status":
			return len(below) == 1
		case "streams", "workers", "changes":
			// "+" is one level and so is every topic there is; "#" would be more.
			return len(below) == 2 && below[1] != "#"
		case "control":
			return who.Role == RoleControl && len(below) >= 2 && below[1] == "response"
		}
		return false
	default:
		return false
	}
}

// underPrefix says where a topic or filter lies, and its levels below the
// prefix where it is within.
func underPrefix(prefix, topic string) (place, []string) {
	levels := strings.Split(topic, "/")
	wild := false
	for p := range strings.SplitSeq(prefix, "/") {
		if len(levels) == 0 {
			return outside, nil
		}
		switch levels[0] {
		case "#":
			return across, nil
		case "+":
			wild = true
		case p:
		default:
			return outside, nil
		}
		levels = levels[1:]
	}
	if wild {
		return across, nil
	}
	return within, levels
}

// validTopic says whether a topic, or a filter where that is asked for, is one
// by the rules of MQTT: not empty, not too long, UTF-8 without NUL, wildcards
// only in filters, as whole levels, and "#" only at the end.
func validTopic(topic string, filter bool) bool {
	if topic == "" || len(topic) > 65535 || !utf8.ValidString(topic) || strings.IndexByte(topic, 0) >= 0 {
		return false
	}
	if !strings.ContainsAny(topic, "+#") {
		return true
	}
	if !filter {
		return false
	}
	levels := strings.Split(topic, "/")
	for i, level := range levels {
		switch {
		case level == "+":
		case level == "#" && i == len(levels)-1:
		case strings.ContainsAny(level, "+#"):
			return false
		}
	}
	return true
}
