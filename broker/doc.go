// Package broker is how hubpipe's processes reach each other: the embedded
// MQTT broker with its guard and its access rules, and the client session that
// daemon and workers share, whichever broker they talk to.
//
// The broker is a transport and nothing more: any message may be lost,
// repeated, reordered or late, and the ledger in the store makes that right.
// What this package promises instead is that a stranger's bytes cannot end the
// process, that nobody reads or writes a topic that is not theirs, and that no
// call blocks longer than its context.
package broker
