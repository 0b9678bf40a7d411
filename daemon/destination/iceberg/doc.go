// Package iceberg writes the change feed into tables of Apache Iceberg: one a
// stream, in a catalogue. The place in the feed is a property of the table that
// moves in the commit that adds the rows. It is built with the tag iceberg alone:
// the libraries are twice as large as all the rest.
package iceberg
