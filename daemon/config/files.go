package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// fileSchemes are where files may go. Two of them need a binary that was built
// for them.
func fileSchemes() []string { return []string{"file", "s3", "gs", "azblob"} }

// files reads what a destination of files has.
func (s *section) files(d *Destination) {
	f := &Files{Format: FormatParquet, FlushInterval: DefaultFlushInterval, CompactInterval: DefaultCompactInterval, Keep: DefaultKeep, FileSize: DefaultFileSize}
	d.Files, d.SchemaChanges = f, SchemaApply
	s.foreign(d, append(icebergSettings(), "schema", "views")...)
	if !s.has("url") {
		s.at(s.line, s.title+" needs url", `write url = "file:///data/lake" or url = "s3://bucket/prefix?region=eu-central-1"`)
	}
	if t, ok := s.text("url"); ok {
		if wrong := checkFilesURL(t); wrong != "" {
			s.at(s.lineOf("url"), s.title+": "+wrong, "write it like file:///data/lake or s3://bucket/prefix?region=eu-central-1")
		} else {
			d.URL = NewSecret(t)
		}
	}
	s.secret("access_key", &f.AccessKey)
	s.secret("secret_key", &f.SecretKey)
	if s.has("access_key") != s.has("secret_key") {
		s.at(s.line, s.title+": access_key and secret_key belong together", "set both, or none where the environment has them")
	}
	if s.has("access_key") && !strings.HasPrefix(d.URL.Reveal(), "s3:") && d.URL.Reveal() != "" {
		s.bad("access_key", "access_key is for s3:// alone")
	}
	s.oneOf("format", &f.Format, FormatParquet, FormatNDJSON)
	s.oneOf("schema_changes", &d.SchemaChanges, SchemaApply, SchemaBlock, SchemaIgnore)
	s.duration("flush_interval", &f.FlushInterval, minFlushInterval)
	s.duration("compact_interval", &f.CompactInterval, minCompactInterval)
	s.duration("keep", &f.Keep, minKeep)
	s.fileSize(&f.FileSize)
}

// checkFilesURL says what is wrong with the url of a destination of files, and
// nothing of what stands in it.
func checkFilesURL(t string) string {
	u, err := url.Parse(t)
	switch {
	case err != nil || u.Scheme == "":
		return "url is no address of a folder or an object store"
	case !slices.Contains(fileSchemes(), u.Scheme):
		return fmt.Sprintf("url begins with none of %s", strings.Join(fileSchemes(), "://, ")+"://")
	case u.User != nil:
		return "url holds a name or a password; set access_key and secret_key instead"
	case u.Scheme == "file" && (u.Host != "" || u.Path == "" || u.Path == "/"):
		return "url names no folder; a path that begins at the root has three slashes"
	case u.Scheme == "file" && u.RawQuery != "":
		return "url has parameters, which a folder has none of"
	case u.Scheme != "file" && u.Host == "":
		return "url names no bucket"
	}
	return ""
}
