package config

import (
	"regexp"
	"slices"
	"strings"
)

// An excerpt shows a line of the file, and the line may be anything: a token
// under a misspelt name, half of a string that never ended, a line in the
// middle of a heredoc, a token behind a setting that is harmless. So it is not
// secrets that are looked for: a value shows only behind a name that is known
// and known to be harmless, and only when it is one whole value with nothing
// behind it.

const (
	// text1 is text in quotes, without templates and without "=": where quotes are
	// out of step, other settings are in them.
	text1 = `"(?:[^"\\$%=]|\\[^=]|[$%]+[^"\\$%={])*[$%]*"`
	list1 = `\[\s*(?:` + text1 + `\s*(?:,\s*` + text1 + `\s*)*,?\s*)?\]`
	// label1 is a block's name, right or not; what stands in one only where
	// quotes are out of step is left out.
	label1 = `"[^"\\$%={}#/\[\]()]{0,64}"`
	// bare1 is a number, a switch, or a word or duration without its quotes.
	bare1 = `-?[0-9]{1,12}(?:\.[0-9]{1,6})?\s?[A-Za-z%]{0,7}|[a-z_]{1,24}`
)

var (
	headerLine = regexp.MustCompile(`^(\s*([a-z_]+)\s*((?:` + label1 + `\s*)*)\{\s*)(.*)$`)
	// unknownHeader is a block with a misspelt type; its labels have to look like
	// plain words, since a token may stand where one forgot "=".
	unknownHeader = regexp.MustCompile(`^\s*([A-Za-z_]{1,24})\s*(?:"[a-z_]{1,24}"\s*){0,2}\{\s*\}?$`)
	settingLine   = regexp.MustCompile(`^(\s*([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*)(.*)$`)
	callValue     = regexp.MustCompile(`^((?:env\("[A-Za-z_][A-Za-z0-9_]{0,63}"\))|(?:file\("[^"\\$]{1,200}"\)))(\s*\}?\s*)$`)
	plainValue    = regexp.MustCompile(`^(?:` + text1 + `|` + list1 + `|` + bare1 + `|\[)?\s*,?\s*\}?$`)
	plainURL      = regexp.MustCompile(`^"[a-z]+://[A-Za-z0-9.-]+(:\d{1,5})?/?"\s*\}?$`)
	closingLine   = regexp.MustCompile(`^\s*[\]})]+,?\s*$`)
	hubspotText   = regexp.MustCompile(`(?i)pat-[a-z0-9]{2,4}-[0-9a-z-]+`)
	userInfo      = regexp.MustCompile(`(://)[^/@\s"]*@`)
	secretWord    = regexp.MustCompile(`(?i)token|secret|pass|pwd|key|auth|cred|pat`)
)

// scrub masks in any text what has the form of a credential.
func scrub(text string) string {
	text = hubspotText.ReplaceAllString(text, masked)
	return userInfo.ReplaceAllString(text, "${1}"+masked+"@")
}

// excerpt returns a line of the file as it may be shown, at most 200 bytes.
func excerpt(line string) string {
	line = strings.TrimRight(strings.ToValidUTF8(line, "?"), " \t\r\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, line)
	out := strings.TrimRight(scrub(excerptOf(line)), " ")
	if len(out) > 200 {
		out = strings.ToValidUTF8(out[:200], "") + "…"
	}
	return out
}

func excerptOf(line string) string {
	if strings.TrimSpace(line) == "" || closingLine.MatchString(line) {
		return line
	}
	if m := unknownHeader.FindStringSubmatch(line); m != nil && !soundsSecret(m[1]) {
		return line
	}
	if m := headerLine.FindStringSubmatch(line); m != nil && isBlockName(m[2]) && strings.Count(m[3], `"`)/2 <= labelsOf(m[2]) {
		rest := withoutComment(m[4])
		if rest == "" || rest == "}" {
			return m[1] + rest
		}
		return m[1] + excerptOf(rest)
	}
	if m := settingLine.FindStringSubmatch(line); m != nil {
		name, value := m[2], m[3]
		switch {
		case callValue.MatchString(value):
			return line
		case !isHarmless(name):
			return m[1] + masked
		}
		value = withoutComment(value)
		isURL := strings.HasSuffix(name, "url") || strings.Contains(value, "://")
		if !plainValue.MatchString(value) || isURL && !plainURL.MatchString(value) {
			return m[1] + masked
		}
		return m[1] + value
	}
	return masked
}

// isHarmless tells of a name, which may be misspelt, whether no secret stands
// behind it.
func isHarmless(name string) bool {
	if isPlainSetting(name) {
		return true
	}
	meant := nearest(name, allSettings())
	return isPlainSetting(meant) && distance(strings.ToLower(name), meant) <= 2 && !soundsSecret(name)
}

// soundsSecret tells of a name whether somebody may mean a secret by it.
func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	if secretWord.MatchString(name) {
		return true
	}
	return slices.ContainsFunc(secretSettings(), func(s string) bool { return distance(name, s) <= 2 })
}

// withoutComment drops a comment behind a value: a token may be kept there.
func withoutComment(value string) string {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '#' || strings.HasPrefix(value[i:], "//") || strings.HasPrefix(value[i:], "/*")):
			return strings.TrimRight(value[:i], " \t")
		}
	}
	return value
}
