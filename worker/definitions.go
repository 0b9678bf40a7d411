package worker

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// knowledge is what attempts need not ask again: whose account a portal is,
// and an object's definitions. It is safe for concurrent use.
type knowledge struct {
	mu       sync.Mutex
	accounts map[string]known[protocol.Account]
	objects  map[[2]string]known[Definitions] // by portal and object
}

type known[T any] struct {
	value T
	at    time.Time
}

func newKnowledge() *knowledge {
	return &knowledge{accounts: map[string]known[protocol.Account]{}, objects: map[[2]string]known[Definitions]{}}
}

func (k *knowledge) account(portal string, age time.Duration) (protocol.Account, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.accounts[portal]
	return a.value, ok && time.Since(a.at) < age
}

func (k *knowledge) learn(portal string, a protocol.Account) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accounts[portal] = known[protocol.Account]{a, time.Now()}
}

func (k *knowledge) definitions(portal, object string, age time.Duration) (Definitions, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.objects[[2]string{portal, object}]
	return d.value, ok && time.Since(d.at) < age
}

func (k *knowledge) learnDefinitions(portal, object string, d Definitions) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.objects[[2]string{portal, object}] = known[Definitions]{d, time.Now()}
}

// forget drops what was learned of a portal: its token may be another one when
// it works again.
func (k *knowledge) forget(portal string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.accounts, portal)
	maps.DeleteFunc(k.objects, func(key [2]string, _ known[Definitions]) bool { return key[0] == portal })
}

// definitions gives the object's properties, read now where what is known is
// too old or force says so, and chooses the attempt's names among them.
func (a *attempt) definitions(force bool) (d Definitions, fresh bool, err error) {
	portal, object := a.fetch.Portal, a.fetch.Object
	d, ok := a.w.know.definitions(portal, object, a.w.o.SchemaEvery)
	// The ledger may have heard of newer ones from another worker.
	if !ok || force || a.fetch.SchemaAsOf > d.AsOf {
		d, err = ask(a.ctx, a, func(ctx context.Context) (Definitions, error) { return a.source.Definitions(ctx, object) })
		if err != nil {
			return d, false, fmt.Errorf("read the properties of %s: %w", object, err)
		}
		a.w.know.learnDefinitions(portal, object, d)
		fresh = true
	}
	if a.names, err = choose(d.Names, a.fetch.Properties, a.fetch.Exclude); err != nil {
		return d, fresh, err
	}
	a.list = protocol.ListHash(a.names)
	if a.fetch.Kind == reconcileRun {
		a.types = typesOf(d.JSON)
	}
	if len(a.fetch.History) > 0 {
		if a.past, err = choose(a.names, a.fetch.History, nil); err != nil {
			return d, fresh, err
		}
	}
	quiet, err := choose(a.names, append(catalogue.Volatile(), a.fetch.Volatile...), nil)
	if err != nil {
		return d, fresh, err
	}
	a.hush(quiet)
	return d, fresh, nil
}

// schema sends the definitions on the attempt's first range where the ledger
// has another list, or has not heard of this one for too long.
func (a *attempt) schema(d Definitions, fresh bool) error {
	if a.list == a.fetch.SchemaHash && (!fresh || d.AsOf-a.fetch.SchemaAsOf < a.w.o.SchemaEvery.Milliseconds()) {
		return nil
	}
	a.mu.Lock()
	var first *ranger
	if len(a.waiting) > 0 {
		first = a.waiting[0]
	}
	a.mu.Unlock()
	if first == nil {
		return nil
	}
	_, err := first.send(protocol.Page{Kind: protocol.SchemaPage, AsOf: d.AsOf, Schema: d.JSON}, false)
	return err
}

// choose applies a stream's patterns to the names that HubSpot has. Without
// patterns, and with "*", all are chosen; the result is sorted.
func choose(names, properties, exclude []string) ([]string, error) {
	if len(properties) == 0 {
		properties = []string{"*"}
	}
	var chosen []string
	for _, n := range names {
		in, err := matches(properties, n)
		if err != nil {
			return nil, err
		}
		out, err := matches(exclude, n)
		if err != nil {
			return nil, err
		}
		if in && !out {
			chosen = append(chosen, n)
		}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

func matches(patterns []string, name string) (bool, error) {
	for _, p := range patterns {
		ok, err := path.Match(p, name)
		if err != nil {
			return false, &ProblemError{protocol.Problem{Type: "configuration", Title: "a property pattern is malformed", Blocked: true,
				Detail: fmt.Sprintf("%q is no pattern", p), Hint: "write it like hs_analytics_*"}}
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}
