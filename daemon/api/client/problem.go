package client

// MediaProblem is the media type of an error answer (RFC 9457).
const MediaProblem = "application/problem+json"

// Types of problem that the API answers with. The list is closed: a type is
// never renamed, so that programs can rely on it. Errors of runs and streams
// carry further types, which say what HubSpot or a worker met.
const (
	TypeBadParameter       = "bad-parameter"       // 400: a query parameter
	TypeBadBody            = "bad-body"            // 400: the JSON body
	TypeBadInterval        = "bad-interval"        // 400
	TypeBadCommand         = "bad-command"         // 400
	TypeBadRecord          = "bad-record"          // 400: no id of a record
	TypeUnauthorized       = "unauthorized"        // 401
	TypeBadSignature       = "bad-signature"       // 401: of a webhook
	TypeForbidden          = "forbidden"           // 403: not for this role
	TypeOtherPortal        = "other-portal"        // 403: a webhook of another account
	TypeForeignHost        = "foreign-host"        // 403
	TypeForeignOrigin      = "foreign-origin"      // 403
	TypeNotFound           = "not-found"           // 404: no such route
	TypeUnknownStream      = "unknown-stream"      // 404
	TypeUnknownRecord      = "unknown-record"      // 404
	TypeUnknownRun         = "unknown-run"         // 404
	TypeUnknownDestination = "unknown-destination" // 404
	TypeUnknownPortal      = "unknown-portal"      // 404: or one without webhooks
	TypeNoSchema           = "no-schema"           // 404: before the first run
	TypeMethodNotAllowed   = "method-not-allowed"  // 405
	TypePortalBlocked      = "portal-blocked"      // 409
	TypeBadConfiguration   = "bad-configuration"   // 409: of a reload
	TypeIDUsed             = "id-used"             // 409: on the control topic, a command's id
	TypeAnswerGone         = "answer-gone"         // 410: it was answered before, and the answer is not kept any more
	TypeBodyTooLarge       = "body-too-large"      // 413
	TypeTooManyRecords     = "too-many-records"    // 429: asked for by name beside a walk
	TypeInternal           = "internal"            // 500
	TypeStopping           = "stopping"            // 503
	TypeNotReady           = "not-ready"           // 503
	TypeUnhealthy          = "unhealthy"           // 503
	TypeTimeout            = "timeout"             // 504
	TypeDiskFull           = "disk-full"           // 507
)

// Problem is why something does not work: what happened (Detail) and what to
// do about it (Hint). It is the error that the client's methods return for an
// answer that is not a success. It never holds a secret.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// Error gives title and detail in one line.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}
