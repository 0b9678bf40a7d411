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
	var b strings.Builder
	fmt.Fprintf(&b, `# hubpipe's access rules for mosquitto:
#   allow_anonymous false
#   acl_file        this file
# Users are those of its password_file. Whatever is not named here is denied;
# answers to commands outside %[1]s/ need a line of their own for the daemon
# ("topic write …") and for who reads them. mosquitto lets every user take any
# client id: a user can end another's connection, and reads nothing by it.
`, prefix)
	for _, u := range inOrder(users) {
		fmt.Fprintf(&b, "\n# %s\nuser %s\n", u.Role, u.Name)
		for _, rule := range rulesOf(prefix, u) {
			fmt.Fprintf(&b, "topic %s %s\n", rule.access, rule.topic)
		}
	}
	return b.String()
}

// EMQX prints the same rules in the form of EMQX's acl.conf: Erlang's terms, of
// which the first that fits decides.
// Source: https://docs.emqx.com/en/emqx/latest/access-control/authz/file.html
func EMQX(prefix string, users []Identity) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%%%% hubpipe's access rules for EMQX, as its acl.conf:
%%%%   authorization { no_match = deny, deny_action = ignore, sources = [{type = file, enable = true, path = "this file"}] }
%%%% Users are those of its authentication. Whatever is not named here is denied;
%%%% answers to commands outside %[1]s/ need a rule of their own for the daemon and
%%%% for who reads them. EMQX lets every user take any client id: a user can end
%%%% another's connection, and reads nothing by it.
`, prefix)
	actions := map[string]string{"read": "subscribe", "write": "publish", "readwrite": "all"}
	for _, u := range inOrder(users) {
		fmt.Fprintf(&b, "\n%%%% %s\n", u.Role)
		for _, rule := range rulesOf(prefix, u) {
			fmt.Fprintf(&b, "{allow, {user, %q}, %s, [%q]}.\n", u.Name, actions[rule.access], rule.topic)
		}
	}
	b.WriteString("\n{deny, all}.\n")
	return b.String()
}

// inOrder are users by their roles and names.
func inOrder(users []Identity) []Identity {
	users = slices.Clone(users)
	slices.SortStableFunc(users, func(a, b Identity) int {
		return cmp.Or(cmp.Compare(b.Role, a.Role), strings.Compare(a.Name, b.Name))
	})
	return users
}

// aclRule is what a user may do on a topic: read, write or readwrite.
type aclRule struct{ access, topic string }

// rulesOf are the rules of one user.
func rulesOf(prefix string, u Identity) []aclRule {
	p := func(access, topic string) aclRule { return aclRule{access, prefix + "/" + topic} }
	seen := []aclRule{p("read", "status"), p("read", "streams/+"), p("read", "workers/+"), p("read", "changes/+")}
	switch u.Role {
	case RoleDaemon:
		return []aclRule{p("readwrite", "#")}
	case RoleWorker:
		own := "workers/" + u.Name
		return []aclRule{p("readwrite", own), p("read", own+"/commands"), p("read", own+"/answers"), p("readwrite", own+"/pages"),
			p("readwrite", own+"/heartbeat"), p("read", "status")}
	case RoleControl:
		return append(seen, p("write", "control"), p("read", "control/response/#"))
	case RoleReader:
		return seen
	default:
		return nil
	}
}
