package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// cloud is an object store.
type cloud struct {
	b      *blob.Bucket
	scheme string
	host   string
	prefix string // "" or with a slash at its end
	idle   func()
}

// connectTime is how long a store may take to be there, answerTime how long it may
// think about a request that it has.
const (
	connectTime = 15 * time.Second
	answerTime  = time.Minute
)

// An object is sent in parts, of which so many are in memory.
const (
	partSize    = 8 << 20
	partsAtOnce = 2
)

func openCloud(ctx context.Context, u *url.URL, o Options) (bucket, error) {
	c := &cloud{scheme: u.Scheme, host: u.Host, prefix: strings.Trim(u.Path, "/"), idle: func() {}}
	if c.prefix != "" {
		c.prefix += "/"
	}
	var err error
	if u.Scheme == s3blob.Scheme {
		err = c.s3(ctx, u, o)
	} else {
		bare := *u
		bare.Path = "" // gocloud.dev has prefixes as a parameter, if at all
		c.b, err = blob.OpenBucket(ctx, bare.String())
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// s3 opens a bucket of S3, or of what speaks as it does. The parameters of the
// URL are those of gocloud.dev.
func (c *cloud) s3(ctx context.Context, u *url.URL, o Options) error {
	q := u.Query()
	var options []func(*s3.Options)
	for _, name := range []string{"use_path_style", "s3ForcePathStyle"} {
		if v := q.Get(name); v != "" {
			style, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%s is %q, and neither true nor false", name, v)
			}
			options = append(options, func(x *s3.Options) { x.UsePathStyle = style })
		}
		q.Del(name)
	}
	if q.Has("endpoint") && !q.Has("request_checksum_calculation") {
		// Stores that are not Amazon's often take the newer checksums for content.
		q.Set("request_checksum_calculation", "when_required")
	}
	options = append(options, func(x *s3.Options) { x.DisableLogOutputChecksumValidationSkipped = true })
	config, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return err
	}
	if o.AccessKey != "" {
		config.Credentials = credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")
	}
	config.Logger = logging.Nop{} // what matters is in errors
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: connectTime, ResponseHeaderTimeout: answerTime, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: connectTime}).DialContext}
	config.HTTPClient, c.idle = &http.Client{Transport: t}, t.CloseIdleConnections
	c.b, err = s3blob.OpenBucket(ctx, s3.NewFromConfig(config, options...), u.Host,
		&s3blob.Options{RequestChecksumCalculation: config.RequestChecksumCalculation})
	return err
}

func (c *cloud) address(key string) string { return c.scheme + "://" + c.host + "/" + c.prefix + key }

func (c *cloud) close() {
	_ = c.b.Close() // nothing of it is left open
	c.idle()
}

func (c *cloud) create(ctx context.Context, key string, exclusive bool) (output, error) {
	ctx, cancel := context.WithCancel(ctx)
	kind := "application/octet-stream"
	if strings.HasSuffix(key, ".json") {
		kind = "application/json"
	}
	w, err := c.b.NewWriter(ctx, c.prefix+key, &blob.WriterOptions{IfNotExist: exclusive, ContentType: kind,
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
	if gcerrors.Code(err) == gcerrors.NotFound && !isBucketGone(err) {
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
