package files

import (
	"bytes"
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

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 is a bucket of S3, or of what speaks as it does.
type s3 struct {
	c      minio.Core
	bucket string
	prefix string // "" or with a slash at its end
	idle   func()
}

// connectTime is how long a store may take to be there, answerTime how long it may
// think about a request that it has; tries is how often one is asked.
const (
	connectTime = 15 * time.Second
	answerTime  = time.Minute
	tries       = 3
)

// partSize is what an object is sent in: one part is in memory at a time.
const partSize = 8 << 20

// amazon is where buckets are that have no endpoint of their own.
const amazon = "s3.amazonaws.com"

// openS3 opens the bucket of a URL. Its parameters are called as gocloud.dev calls
// them.
func openS3(u *url.URL, o Options) (bucket, error) {
	b := &s3{bucket: u.Host, prefix: prefixOf(u)}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: connectTime, ResponseHeaderTimeout: answerTime,
		DialContext: (&net.Dialer{Timeout: connectTime}).DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4}
	b.idle = t.CloseIdleConnections
	options := &minio.Options{Secure: true, Transport: t, MaxRetries: tries}
	endpoint, profile := amazon, ""
	for name, values := range u.Query() {
		v := values[0]
		switch name {
		case "region":
			options.Region = v
		case "profile":
			profile = v
		case "endpoint":
			e, err := url.Parse(v)
			if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" || strings.Trim(e.Path, "/") != "" {
				return nil, errors.New("endpoint in the url is no address such as https://s3.example:9000")
			}
			endpoint, options.Secure = e.Host, e.Scheme == "https"
		case "use_path_style", "s3ForcePathStyle":
			is, err := strconv.ParseBool(v)
			if err != nil {
				return nil, fmt.Errorf("%s in the url is neither true nor false", name)
			}
			if options.BucketLookup = minio.BucketLookupDNS; is {
				options.BucketLookup = minio.BucketLookupPath
			}
		default:
			return nil, fmt.Errorf("the url has a parameter %q; there are region, endpoint, use_path_style and profile", name)
		}
	}
	if o.AccessKey != "" {
		options.Creds = credentials.NewStaticV4(o.AccessKey, o.SecretKey, "")
	} else {
		options.Creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{Profile: profile},
			&credentials.IAM{Client: &http.Client{Transport: t, Timeout: connectTime}}})
	}
	c, err := minio.New(endpoint, options)
	if err != nil {
		return nil, err
	}
	b.c = minio.Core{Client: c}
	return b, nil
}

func prefixOf(u *url.URL) string {
	if p := strings.Trim(u.Path, "/"); p != "" {
		return p + "/"
	}
	return ""
}

func (b *s3) address(key string) string { return "s3://" + b.bucket + "/" + b.prefix + key }

func (b *s3) close() { b.idle() }

func (b *s3) create(ctx context.Context, key string, exclusive bool) (output, error) {
	ctx, cancel := context.WithCancel(ctx)
	// A signature over pieces of the content, the library's default without TLS, is
	// stored as if it were content by some. All of them know a digest in the header.
	o := minio.PutObjectOptions{ContentType: contentType(key), PartSize: partSize, DisableContentSha256: true, SendContentMd5: true}
	if exclusive {
		o.SetMatchETagExcept("*")
	}
	return &sending{b: b, ctx: ctx, cancel: cancel, key: b.prefix + key, o: o}, nil
}

func contentType(key string) string {
	if strings.HasSuffix(key, ".json") {
		return "application/json"
	}
	return "application/octet-stream"
}

// sending is an object on its way: small ones in one request, others in parts
// while they are written.
type sending struct {
	b      *s3
	ctx    context.Context //nolint:containedctx // of the one who writes it
	cancel context.CancelFunc
	key    string
	o      minio.PutObjectOptions
	small  bytes.Buffer
	w      *io.PipeWriter
	sent   chan struct{} // closed when err says what became of it
	err    error
	done   bool
}

func (s *sending) Write(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.w == nil && s.small.Len()+len(b) <= partSize {
		return s.small.Write(b)
	}
	if s.w == nil {
		r, w := io.Pipe()
		s.w, s.sent = w, make(chan struct{})
		go func() {
			defer close(s.sent)
			_, s.err = s.b.c.Client.PutObject(s.ctx, s.b.bucket, s.key, io.MultiReader(&s.small, r), -1, s.o)
			_ = r.CloseWithError(s.err) // it never fails
		}()
	}
	return s.w.Write(b)
}

func (s *sending) commit() (err error) {
	if s.done {
		return errors.New("the object is written already")
	}
	s.done = true
	defer s.cancel()
	if s.w == nil {
		_, err = s.b.c.Client.PutObject(s.ctx, s.b.bucket, s.key, bytes.NewReader(s.small.Bytes()), int64(s.small.Len()), s.o)
	} else {
		_ = s.w.Close() // it never fails
		<-s.sent
		err = s.err
	}
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok && e.StatusCode == http.StatusPreconditionFailed {
		return errors.Join(errExists, err)
	}
	return err
}

var errAborted = errors.New("it is not written to its end")

// abort ends it so that nothing comes of it. The parts that were sent are taken
// away again, where the store can still be told.
func (s *sending) abort() {
	if s.done {
		return
	}
	s.done = true
	if s.w != nil {
		_ = s.w.CloseWithError(errAborted) // it never fails
		<-s.sent
	}
	s.cancel()
}

func (b *s3) open(ctx context.Context, key string) (io.ReadCloser, error) {
	r, _, _, err := b.c.GetObject(ctx, b.bucket, b.prefix+key, minio.GetObjectOptions{})
	if codeOf(err) == "NoSuchKey" {
		return nil, fmt.Errorf("%w: %s", errNone, key)
	}
	return r, err
}

func (b *s3) list(ctx context.Context, prefix string, fn func(entry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	objects := b.c.Client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true})
	defer func() {
		cancel()
		for range objects { // it ends with the context
		}
	}()
	for o := range objects {
		if o.Err != nil {
			return o.Err
		}
		if err := fn(entry{key: strings.TrimPrefix(o.Key, b.prefix), modified: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *s3) remove(ctx context.Context, key string) error {
	return b.c.RemoveObject(ctx, b.bucket, b.prefix+key, minio.RemoveObjectOptions{})
}
