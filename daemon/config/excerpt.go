package config

import (
	"regexp"
	"strings"
)

// An excerpt shows a line of the file, and the line may be anything: a token
// under a misspelt name, half of a string that never ended, a line in the
// middle of a heredoc. So it is not secrets that are looked for: text in
// quotes shows only behind a name that is known and known to be harmless.

var (
	headerLine = regexp.MustCompile(`^(\s*[a-z_]+\s*(?:"[a-zA-Z0-9_.*-]{0,80}"\s*)*\{\s*)(.*)$`)
	// unknownHeader is a block with a misspelt type; its labels have to look like
	// plain words, since a token may stand where one forgot "=".
	unknownHeader = regexp.MustCompile(`^\s*[A-Za-z_]{1,24}\s*(?:"[a-z_]{1,24}"\s*){0,2}\{\s*\}?$`)
	settingLine   = regexp.MustCompile(`^(\s*([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*)(.*)$`)
	callValue     = regexp.MustCompile(`^((?:env\("[A-Za-z_][A-Za-z0-9_]{0,63}"\))|(?:file\("[^"\\$]{1,200}"\)))(\s*\}?\s*)$`)
	plainURL      = regexp.MustCompile(`^"[a-z]+://[A-Za-z0-9.-]+(:\d{1,5})?/?"\s*\}?$`)
	closingLine   = regexp.MustCompile(`^\s*[\]})]+,?\s*$`)
	hubspotText   = regexp.MustCompile(`(?i)pat-[a-z0-9]{2,4}-[0-9a-z-]+`)
	userInfo      = regexp.MustCompile(`(://)[^/@\s"]*@`)
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
	if strings.TrimSpace(line) == "" || closingLine.MatchString(line) || unknownHeader.MatchString(line) {
		return line
	}
	if m := headerLine.FindStringSubmatch(line); m != nil && isBlockName(strings.Fields(m[1])[0]) {
		rest := withoutComment(m[2])
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
		case !isPlainSetting(name) && !isPlainSetting(nearest(name, allSettings())):
			return m[1] + masked
		}
		value = withoutComment(value)
		if (strings.HasSuffix(name, "url") || strings.Contains(value, "://")) && !plainURL.MatchString(value) {
			return m[1] + masked
		}
		return m[1] + value
	}
	return masked
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
