package audit

import "time"

// The types of events. LOGIN_ATTEMPT and ACCESS_CONTROL are the original's words, the others were added to them.
const (
	EventLoginAttempt    = "LOGIN_ATTEMPT"
	EventAccessControl   = "ACCESS_CONTROL"
	EventAccessOutcome   = "ACCESS_OUTCOME"
	EventLogout          = "LOGOUT"
	EventSessionExpired  = "SESSION_EXPIRED"
	EventSessionRevoked  = "SESSION_REVOKED"
	EventRateLimited     = "RATE_LIMITED"
	EventUserCreated     = "USER_CREATED"
	EventUserDeleted     = "USER_DELETED"
	EventUserDisabled    = "USER_DISABLED"
	EventUserEnabled     = "USER_ENABLED"
	EventRoleChanged     = "ROLE_CHANGED"
	EventPasswordChanged = "PASSWORD_CHANGED"
	EventGrantAdded      = "GRANT_ADDED"
	EventGrantRemoved    = "GRANT_REMOVED"
	EventTokenCreated    = "TOKEN_CREATED"
	EventTokenRevoked    = "TOKEN_REVOKED"
	EventTokenExpired    = "TOKEN_EXPIRED"
	EventTokenRefused    = "TOKEN_REFUSED"
)

// The words of Event.Status. They are the original's.
const (
	StatusSuccess = "SUCCESS" // a sign-in
	StatusFailure = "FAILURE" // a sign-in
	StatusAllowed = "ALLOWED" // an access
	StatusDenied  = "DENIED"  // an access
	// StatusWouldDeny is an access that was let through in report-only mode.
	StatusWouldDeny = "WOULD_DENY"
)

// Event is one thing that happened, as it stands in a row of audit_events and in a line on stdout. Only Type is always
// needed; what is empty is left out. It never holds a password, a token or a cookie.
//
// Its JSON has the key order of the original for LOGIN_ATTEMPT and ACCESS_CONTROL, with the added keys after them; see
// MarshalJSON. Strings from clients may go in as they came: Record and MarshalJSON make them harmless, and so must
// whoever stores an event by another way than Record (see Clean).
type Event struct {
	// Type is what happened; key "event_type".
	Type string
	// Username is whom it happened to: who signed in or tried to, who asked, whose account was changed.
	Username string
	// Status is how it ended: SUCCESS or FAILURE, ALLOWED or DENIED.
	Status string
	// IP is the client's address, without a port.
	IP string
	// Action is the HTTP method of an access.
	Action string
	// Resource is the path of an access, without prefix and query.
	Resource string
	// Roles are those held at the time of an access.
	Roles []string
	// Reason says in one word why: "EDITOR_REQUIRED_FOR_MUTATIONS".
	Reason string
	// RequestID ties the events of one request together, and to AuthKit's own log.
	RequestID string
	// Timestamp is when it happened; the zero time means now, to Record and Line.
	Timestamp time.Time
	// PerformedBy is who changed an account or ended a session, when that is somebody else than its owner: a user's
	// name, or "cli:" and the name of the operating system's user.
	PerformedBy string
	// Identity is the lasting name of the account, "local:alice". Names are made anew, lasting names are not.
	Identity string
	// Session is the public ID of the session that it happened in or to.
	Session string
	// Token is the public ID of the token that it was done with or to, and TokenName its name.
	Token     string
	TokenName string
	// Mutations are the GraphQL fields that were asked for.
	Mutations []string
	// OperationName is the client's own name for the GraphQL operation.
	OperationName string
	// Outcome is what Dagster answered to an access: "OK", or the __typename of the answer; those of several mutations
	// are joined by commas, in the order of Mutations.
	Outcome string
	// Targets are what the arguments name, by key: code_location, job, assets, run_ids. The keys stand beside the
	// others in the JSON, each with a list.
	Targets map[string][]string
}
