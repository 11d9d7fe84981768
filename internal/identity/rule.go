package identity

// GroupRule gives the members of a group a role: in one code location, or everywhere when Location is empty. The group is
// what the backend calls it, a name or a directory's DN.
type GroupRule struct {
	Group    string
	Location string
	Role     Role
}
