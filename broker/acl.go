package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ACL prints the access rules for a broker of others, in the form of acl_file of
// mosquitto. It is Allowed as far as that broker can say it: below the prefix
// alone, with users who are told by their names. An identity whose role is
// RoleDaemon is the daemon's user.
func ACL(prefix string, users []Identity) string {
	users = slices.Clone(users)
	slices.SortStableFunc(users, func(a, b Identity) int {
		return cmp.Or(cmp.Compare(b.Role, a.Role), strings.Compare(a.Name, b.Name))
	})
	var b strings.Builder
	fmt.Fprintf(&b, `# hubpipe's access rules for mosquitto:
#   allow_anonymous false
#   acl_file        this file
# Users are those of its password_file. Whatever is not named here is denied;
# answers to commands outside %[1]s/ need a line of their own for the daemon
# ("topic write …") and for who reads them. mosquitto lets every user take any
# client id: a user can end another's connection, and reads nothing by it.
`, prefix)
	for _, u := range users {
		fmt.Fprintf(&b, "\n# %s\nuser %s\n", u.Role, u.Name)
		for _, rule := range rulesOf(prefix, u) {
			fmt.Fprintf(&b, "topic %s\n", rule)
		}
	}
	return b.String()
}

// rulesOf are the lines of one user.
func rulesOf(prefix string, u Identity) []string {
	p := func(access, topic string) string { return access + " " + prefix + "/" + topic }
	seen := []string{p("read", "status"), p("read", "streams/+"), p("read", "workers/+"), p("read", "changes/+")}
	switch u.Role {
	case RoleDaemon:
		return []string{p("readwrite", "#")}
	case RoleWorker:
		own := "workers/" + u.Name
		return []string{p("readwrite", own), p("read", own+"/commands"), p("read", own+"/answers"), p("readwrite", own+"/pages"),
			p("readwrite", own+"/heartbeat"), p("read", "status")}
	case RoleControl:
		return append(seen, p("write", "control"), p("read", "control/response/#"))
	case RoleReader:
		return seen
	default:
		return nil
	}
}
