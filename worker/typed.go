package worker

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// HubSpot keeps text in number properties and times in five forms. Values travel
// as they were sent; how many of them are not what their property's definition
// says is counted where every live record passes whole anyway: in a reconcile. At
// each commit it would cost every record a second look, and count a value again
// for each of its changes.

// untyped counts, by property, the values that are not of the property's type. An
// empty value is none.
type untyped map[string]func(value string) bool

// typesOf are the checks of the properties whose type says what their values have
// to be.
func typesOf(definitions []byte) untyped {
	var list []struct{ Name, Type string }
	if json.Unmarshal(definitions, &list) != nil {
		return nil
	}
	checks := untyped{}
	for _, p := range list {
		switch p.Type {
		case "number":
			checks[p.Name] = isNumber
		case "bool":
			checks[p.Name] = isBool
		case "date", "datetime":
			checks[p.Name] = isTime
		}
	}
	return checks
}

// count adds the values of a record that are not of their type.
func (u untyped) count(properties []byte, into map[string]uint64) {
	if len(u) == 0 || len(properties) == 0 {
		return
	}
	s := rawjson.Scan(properties)
	if !s.Open('{') {
		return
	}
	for n := 0; s.Next(n, '}'); n++ {
		name := s.Name()
		raw := s.Value()
		if len(name) < 2 || len(raw) <= 2 || raw[0] != '"' {
			continue // none, or no text
		}
		check := u[string(name[1:len(name)-1])]
		if check == nil {
			continue
		}
		value := string(raw[1 : len(raw)-1])
		if strings.Contains(value, `\`) && json.Unmarshal(raw, &value) != nil {
			continue
		}
		if !check(value) {
			into[string(name[1:len(name)-1])]++
		}
	}
}

func isNumber(value string) bool {
	// Go knows more forms than tables do.
	if strings.Trim(value, "+-.0123456789eE") != "" {
		return false
	}
	_, err := strconv.ParseFloat(value, 64)
	return err == nil
}

func isBool(value string) bool {
	return strings.EqualFold(value, "true") || strings.EqualFold(value, "false")
}

// isTime tells whether a value is in one of the forms in which HubSpot writes
// times: a day, ISO with or without parts of a second and with a zone in either
// form, milliseconds since 1970, as a whole number or not.
func isTime(value string) bool {
	if isNumber(value) {
		return true
	}
	for _, form := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05-0700"} {
		if _, err := time.Parse(form, value); err == nil {
			return true
		}
	}
	return false
}

// few keeps what a page may say of untyped values.
func few(counts map[string]uint64) map[string]uint64 {
	for name := range counts {
		if len(counts) <= protocol.MaxUntyped {
			break
		}
		delete(counts, name)
	}
	return counts
}
