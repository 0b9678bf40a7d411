package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/minio/minio-go/v7"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// kinds of problems.
const (
	typeUnreachable = "destination-unreachable"
	typeRefused     = "destination-refused"
	typeForeign     = "destination-foreign"
	typeFull        = "destination-full"
	typeSchema      = "destination-schema"
	typeFailed      = "destination-failed"
)

// ofThePlace tells whether a problem is that of all streams.
func ofThePlace(err error) bool {
	p, ok := errors.AsType[*stream.Problem](err)
	return ok && (p.Type == typeUnreachable || p.Type == typeRefused || p.Type == typeFull)
}

// codeOf is what a store of S3's kind calls an error.
func codeOf(err error) string {
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return e.Code
	}
	return ""
}

func isBucketGone(err error) bool {
	return codeOf(err) == "NoSuchBucket" || errors.Is(err, errBucket)
}

// rights is what has to be allowed in a store, by the scheme of its URL.
func rights(scheme string) string {
	switch scheme {
	case "gs":
		return "give the account roles/storage.objectUser on the bucket; the credentials are Google's default ones of this machine"
	case "azblob":
		return "give the account Storage Blob Data Contributor on the container; the credentials are those of AZURE_STORAGE_ACCOUNT and what Microsoft's tools find"
	}
	return "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on what is below the prefix"
}

// explain makes of an error what a person can act on.
func (e *Engine) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*stream.Problem](err); ok {
		return err
	}
	p := &stream.Problem{Type: typeFailed, Title: "the files cannot be written or read", Detail: doing + ": " + firstLine(err)}
	code := codeOf(err)
	var op *net.OpError
	switch {
	case isBucketGone(err):
		p.Type, p.Title, p.Blocked = typeRefused, "there is no such bucket", true
		p.Hint = "create bucket " + e.url.Host + ", or name another one in the destination's url; look at its region and endpoint, too"
	case code == "InvalidAccessKeyId" || code == "SignatureDoesNotMatch" || code == "InvalidToken" || code == "ExpiredToken" || code == "ExpiredTokenException":
		p.Type, p.Title, p.Blocked = typeRefused, "the object store refuses the key", true
		p.Detail = doing + ": " + code
		p.Hint = "check access_key and secret_key of the destination, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where it has none"
	case code == "AuthorizationHeaderMalformed" || code == "PermanentRedirect" || code == "InvalidRegion":
		p.Type, p.Title, p.Blocked = typeRefused, "the bucket is in another region", true
		p.Hint = "write it into the destination's url: s3://bucket/prefix?region=eu-central-1"
	case strings.Contains(err.Error(), "no driver registered"):
		p.Type, p.Title, p.Blocked = typeRefused, "this hubpipe does not know that kind of object store", true
		p.Hint = "build it with -tags gcs (gs://) or -tags azure (azblob://), or both"
	case code == "AccessDenied" || code == "Forbidden" || isDenied(err):
		p.Type, p.Title, p.Blocked = typeRefused, "the object store's user may not do that", true
		p.Hint = rights(e.url.Scheme)
		if e.url.Scheme == "s3" && e.o.AccessKey == "" {
			p.Hint += "; the credentials are those of the environment, ~/.aws/credentials or the machine, if there are any"
		}
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		p.Type, p.Title, p.Blocked = typeRefused, "the folder may not be written", true
		p.Hint = "let the user that hubpipe runs as write to " + e.url.Path
	case errors.Is(err, syscall.ENOTDIR):
		p.Type, p.Title, p.Blocked = typeRefused, "the destination's url is no folder", true
		p.Hint = "name a folder"
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || code == "XMinioStorageFull" || code == "QuotaExceeded":
		p.Type, p.Title = typeFull, "the destination's disk is full"
		p.Hint = "make room on it; hubpipe goes on by itself from where it was"
	case errors.As(err, &op), code == "SlowDown" || code == "ServiceUnavailable", errors.Is(err, context.DeadlineExceeded):
		p.Type, p.Title = typeUnreachable, "the object store cannot be reached"
		p.Hint = "is it running at the endpoint of the destination's url, and may this machine connect? It is tried again by itself"
	}
	return p
}

// firstLine is an error without what a server may have sent with it.
func firstLine(err error) string {
	s, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
