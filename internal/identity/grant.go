package identity

// Holder is whom a grant is given: a user or, when Group is not empty, everybody of whom its source tells that they are in it.
// The group is as GroupName makes it.
type Holder struct {
	User  User
	Group string
}

// HeldGrant is a grant and who holds it. With both User and Group it is what that user has by that group.
type HeldGrant struct {
	Grant
	Holder
	// Rule says that nobody gave it: the config file's rules give it to the user for groups that the backend told of.
	Rule bool
}
