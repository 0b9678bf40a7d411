package protocol

import "encoding/json"

// pageName is what a page says of itself beside its bytes, as MQTT's
// correlation data: where these cannot be read, its sender is answered all the
// same.
type pageName struct {
	Store   string `json:"s"`
	Epoch   uint64 `json:"e"`
	Process string `json:"p"`
	Attempt uint64 `json:"a"`
	Range   uint32 `json:"r"`
	Seq     uint64 `json:"n"`
}

// maxName bounds what is read of a name.
const maxName = 1024

// Name is what travels beside a page.
func (p *Page) Name() []byte {
	b, err := json.Marshal(pageName{p.Store, p.Epoch, p.Process, p.Attempt, p.Range, p.Seq})
	if err != nil {
		return nil // text and numbers always encode
	}
	return b
}

// Named is a page of which nothing is known but its name; nil where that is
// none.
func Named(name []byte) *Page {
	var n pageName
	if len(name) > maxName || json.Unmarshal(name, &n) != nil || n.Store == "" || n.Process == "" || n.Attempt == 0 {
		return nil
	}
	return &Page{Store: n.Store, Epoch: n.Epoch, Process: n.Process, Attempt: n.Attempt, Range: n.Range, Seq: n.Seq}
}
