//go:build !gcs && !azure

package files

import (
	"context"
	"net/url"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func openCloud(_ context.Context, u *url.URL) (bucket, error) { return nil, notBuiltIn(u) }

func isDenied(error) bool { return false }

// notBuiltIn is the problem of a store that this binary does not know.
func notBuiltIn(u *url.URL) error {
	return &stream.Problem{Type: typeRefused, Title: "this hubpipe does not know that kind of object store", Blocked: true,
		Detail: "it was built without " + u.Scheme + "://", Hint: "take s3:// or file://, or build hubpipe with -tags gcs (gs://) or -tags azure (azblob://)"}
}
