package config

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// syntaxError says in plain words what HCL's reader met, and what to do. The
// reader's own sentences speak of arguments and block definitions, which this
// project calls settings and blocks; those that are rare stay as they are, with
// a hint that says how a file looks. Some quote the source, so no detail is
// taken over from where a secret may stand.
func syntaxError(d *hcl.Diagnostic) (summary, hint string) {
	const shape = `a setting is name = "value" in a line of its own, a block is name { … } or name "label" { … }`
	switch d.Summary {
	case "Invalid multi-line string", "Unterminated template string", "Unterminated string literal":
		return "text in quotes does not end in its line", `write the closing " in the same line`
	case "Unexpected comma after argument", "Missing newline after argument", "Missing newline after block definition":
		return "something stands behind what should end this line", "write one setting or block to a line; there is no comma between settings"
	case "Invalid single-argument block definition":
		return "a block in one line holds one setting at most", "write each setting in a line of its own, and } in the last one"
	case "Invalid block definition":
		return "this is neither a setting nor a block", shape
	case "Argument or block definition required", "Argument definition required", "Unsupported block type":
		return "here a setting or a block is expected", shape
	case "Unclosed configuration block", "Unclosed configuration body":
		return "a block that begins here does not end", "add the } that closes it"
	case "Invalid argument name", "Invalid attribute name", "Attribute name required":
		return "this is no name of a setting", "write the name without quotes: " + shape
	case "Invalid expression", "Missing expression":
		return "a value is expected here", `values are "text", 5, true, ["a", "b"], env("NAME") and file("path")`
	case "Missing item separator", "Unterminated tuple constructor expression":
		return "a list does not go on or end as it should", `write it as ["a", "b"], with commas between`
	case "Attribute redefined":
		return "a setting stands here for a second time", "leave one of them out"
	case "Unterminated function call", "Missing argument separator", "Unbalanced parentheses", "Missing closing parenthesis":
		return "a parenthesis is not closed", `write env("NAME") or file("path")`
	case "Unclosed template interpolation sequence", "Extra characters after interpolation expression", "Invalid template interpolation value":
		return "a ${ … } in the text is not right", "write $${ where the text has ${ itself"
	case "Invalid escape sequence":
		return `a \ in the text is not followed by what HCL knows`, `write \\ for a single \`
	case "Invalid character":
		return "a character that means nothing here", `text stands in "…", comments begin with #; quotes are straight ones`
	case "Invalid character encoding":
		return "the file is not UTF-8 here", "save it as UTF-8"
	case "Unsupported operator":
		return "an operator that there is not", `values are "text", 5, true, ["a", "b"], env("NAME") and file("path")`
	}
	return scrub(lowerFirst(d.Summary) + ": " + strings.ReplaceAll(d.Detail, "\n", " ")), shape
}
