//go:build gcs || azure

package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// cloud is an object store of another kind than S3, as gocloud.dev knows them.
type cloud struct {
	b      *blob.Bucket
	at     string
	prefix string // "" or with a slash at its end
}

// An object is sent in parts, of which so many are in memory.
const partsAtOnce = 2

func openCloud(ctx context.Context, u *url.URL) (bucket, error) {
	bare := *u
	bare.Path = "" // gocloud.dev has prefixes as a parameter, if at all
	b, err := blob.OpenBucket(ctx, bare.String())
	if err != nil {
		return nil, err
	}
	return &cloud{b: b, at: u.Scheme + "://" + u.Host + "/", prefix: prefixOf(u)}, nil
}

func isDenied(err error) bool { return gcerrors.Code(err) == gcerrors.PermissionDenied }

func (c *cloud) address(key string) string { return c.at + c.prefix + key }

func (c *cloud) close() { _ = c.b.Close() } // nothing of it is left open

func (c *cloud) create(ctx context.Context, key string, exclusive bool) (output, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := c.b.NewWriter(ctx, c.prefix+key, &blob.WriterOptions{IfNotExist: exclusive, ContentType: contentType(key),
		BufferSize: partSize, MaxConcurrency: partsAtOnce})
	if err != nil {
		cancel()
		return nil, err
	}
	return &upload{w: w, cancel: cancel}, nil
}

// upload is an object that is being sent.
type upload struct {
	w      *blob.Writer
	cancel context.CancelFunc
	done   bool
}

func (u *upload) Write(b []byte) (int, error) { return u.w.Write(b) }

func (u *upload) commit() error {
	if u.done {
		return errors.New("the object is written already")
	}
	u.done = true
	err := u.w.Close()
	u.cancel()
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return errors.Join(errExists, err)
	}
	return err
}

// abort ends an upload so that nothing comes of it: that is what the library does
// when its context has ended before it is closed.
func (u *upload) abort() {
	if u.done {
		return
	}
	u.done = true
	u.cancel()
	_ = u.w.Close() // it says that it was ended
}

func (c *cloud) open(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := c.b.NewReader(ctx, c.prefix+key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%w: %s", errNone, key)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (c *cloud) list(ctx context.Context, prefix string, fn func(entry) error) error {
	it := c.b.List(&blob.ListOptions{Prefix: c.prefix + prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if gcerrors.Code(err) == gcerrors.NotFound { // a prefix below which there is nothing is none
			return errors.Join(errBucket, err)
		}
		if err != nil {
			return err
		}
		if err := fn(entry{key: strings.TrimPrefix(o.Key, c.prefix), modified: o.ModTime}); err != nil {
			return err
		}
	}
}

func (c *cloud) remove(ctx context.Context, key string) error {
	err := c.b.Delete(ctx, c.prefix+key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}
