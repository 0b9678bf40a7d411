# hubpipe's configuration: every setting there is, at its default. A line that
# is commented out has no default, or one that depends on the user. What is not
# set here keeps its default, so a file of your own may be three lines long.
#
#   hubpipe check    says everything that is wrong with it, at once
#   hubpipe up       runs it
#
# Durations are "30s", "5m", "1h30m" or "2d". Secrets come from env("NAME") or
# file("path"), which is relative to this file, and are never shown.
# conf.d/*.hcl beside this file is read too: users, portals, streams, destinations
# and whom to notify.

# Where records, ledger, token and sockets are kept. By default in your data
# folder; a relative path begins at this file.
# data_dir = "/var/lib/hubpipe"

# The HTTP API; http.sock in data_dir has it too. It leaves this machine with TLS
# alone; credentials are asked for everywhere (docs/SECURITY.md).
http {
  listen = "127.0.0.1:8377"

  # Names that requests may call it by, besides localhost and those of the
  # certificate: what a proxy in front of it is called.
  # hosts = ["hubpipe.example"]

  # PEM files, read again at a reload. With ca, whose certificates it signs come
  # in as the user who names them.
  # tls {
  #   certificate = "/etc/hubpipe/tls.crt"
  #   key         = "/etc/hubpipe/tls.key"
  #   ca          = "/etc/hubpipe/clients.crt"
  # }
}

# The broker that daemon and workers meet on: hubpipe's own, on loopback unless it
# has TLS.
broker {
  listen = "127.0.0.1:1883"

  # One that exists already, instead. Off this machine it needs TLS (mqtts) and
  # credentials. A worker on another machine names the daemon's own broker here.
  # url      = "mqtts://broker.example:8883"
  # username = "hubpipe"
  # password = env("MQTT_PASSWORD")

  # As in http. With url: who signs the broker's certificate (ca), and our own.
  # tls {
  #   certificate = "/etc/hubpipe/tls.crt"
  #   key         = "/etc/hubpipe/tls.key"
  #   ca          = "/etc/hubpipe/clients.crt"
  # }

  # The first level of every topic. Two daemons on one broker need two of them.
  prefix = "hubpipe"

  # Whether each change of a record is published on the broker as well.
  changes = false

  # The largest MQTT packet that hubpipe's own broker takes.
  max_packet = "1MiB"
}

# The worker inside `hubpipe up`, and the one of `hubpipe worker`.
worker {
  # How many fetches it holds at a time.
  concurrency = 8

  # What it is called. By default "up" inside `hubpipe up`, else the host's name.
  # name = "worker-1"
}

# What the log says: trace, debug, info, warn or error; as text or json.
log {
  level  = "info"
  format = "text"
}

# Who may come in beside the owner of `hubpipe token`: a worker of that name, or
# people and programs with the role control (everything) or reader (everything
# is read, nothing changed). `hubpipe token create` makes tokens without a block.
# user "grafana" {
#   role          = "reader"
#   password_hash = env("GRAFANA_HASH") # `hubpipe token hash` makes it
#   certificate   = "grafana" # or, or also: its client certificate's common name
# }

# A HubSpot account. Several portals are several of these blocks.
portal "main" {
  # The token of a private app or a service key.
  token = env("HUBSPOT_TOKEN")

  # Or an app that was granted access, instead of the token.
  # oauth {
  #   client_id     = "00000000-0000-0000-0000-000000000000"
  #   client_secret = env("HUBSPOT_CLIENT_SECRET")
  #   refresh_token = file("refresh_token")
  # }

  base_url = "https://api.hubapi.com"

  # The one version of HubSpot's API to speak: "2026-09", "2026-03" or "v3". By
  # default each kind of data is read in the newest version that serves it, and
  # in an older one where this account lacks that.
  # api_version = "2026-09"

  # How much of HubSpot's daily limit is left to other integrations.
  daily_reserve = "20%"

  # HubSpot's journal of changes, pulled every two seconds with an app's own
  # token: changes in seconds, without an address that HubSpot reaches
  # (docs/OPERATIONS.md).
  # journal {
  #   client_id     = "00000000-0000-0000-0000-000000000000"
  #   client_secret = env("HUBSPOT_JOURNAL_SECRET")
  # }

  # HubSpot's webhooks, which call POST /v1/webhooks/hubspot/main: changes in
  # seconds (docs/OPERATIONS.md).
  # webhook {
  #   client_secret = env("HUBSPOT_WEBHOOK_SECRET")
  # }
}

# What holds for all streams. A stream may set each of these for itself.
defaults {
  # Which portals a stream copies from. By default the only one; with several,
  # each pair is a stream of its own, named <portal>_<label>.
  # portal  = "main"
  # portals = ["*"]

  # How often it is fetched, from "1s" up; or five cron fields in timezone. By
  # default each object has an interval of its own: 5m for records of the CRM,
  # 15m for owners and pipelines (`hubpipe streams --available` shows them all).
  # interval = "5m"
  # cron     = "*/5 * * * *"
  timezone = "UTC"

  # Whether it is fetched from the daemon's start on.
  autostart = true

  # From here to start_date a setting is about records of the CRM, and no stream
  # of anything else may have it; start_date is for events and forms, too. What a
  # stream names of properties HubSpot has to have, else its status says so.

  # Which properties: ["*"] for all that are not archived, or names. What
  # matches a pattern in exclude is never fetched.
  properties = ["*"]
  exclude    = []

  # Objects whose associations with this one are copied. A stream whose object is
  # "associations" has a row for each instead, of pairs: ["deals/contacts"].
  associations = []

  # Properties whose earlier values are copied too, as patterns over those that
  # are copied: ["dealstage", "amount"], or ["*"]. After the first load a run of
  # its own reads them, fifty records a request; later they come with what
  # changes.
  history = []

  # Properties that never make a change by themselves, as patterns, besides
  # those that change by the clock.
  volatile = []

  # Leave out records that were last modified before this day or time.
  # start_date = "2024-01-31"

  # HubSpot's search is late. The newest window begins this long before the
  # last one ended, and each window is read again at these ages.
  tail   = "2m"
  settle = ["15m", "75m"]

  # How often archived records are swept, and how often everything is held
  # against HubSpot. The daily limit may make it rarer.
  archived_interval  = "6h"
  reconcile_interval = "24h"

  # A run that would end more of a stream's records than this, and at least
  # 100, because they are missing, ends none and asks.
  max_deletes = "2%"

  # Above which lag a stream is called stale, where people are told (notify);
  # three intervals where nothing is set.
  # max_lag = "15m"

  # Keep superseded versions of records until each destination with versions =
  # true has them, and at most this long.
  # keep_versions = "90d"
}

# What is copied. The label names the stream, in HTTP and on the command line.
stream "contacts" {
  # What it copies: by default what the label says.
  object = "contacts"
}

stream "companies" {}

stream "deals" {}

stream "tickets" {}

stream "owners" {}

stream "pipelines" {}

# A warehouse that records are copied to (docs/DESTINATIONS.md).
# destination "postgres" "warehouse" {
#   url    = env("WAREHOUSE_URL") # postgres://user:password@host:5432/database
#   schema = "hubspot"            # is made where it is missing, and is hubpipe's own
#
#   # Which streams, as patterns over their names; all of them where it is missing.
#   streams = ["contacts", "eu_*"]
#
#   # What becomes of the row of a record that has ended: "mark" or "delete".
#   deletes = "mark"
#
#   # What a change of HubSpot's properties does: "apply" it, "block" the table
#   # until somebody has looked, or "ignore" it and list what was ignored.
#   schema_changes = "apply"
#
#   # A column more, with all properties as JSON.
#   raw = false
#
#   # A table more for each stream with keep_versions, with a row a version.
#   versions = false
#
#   # A view more for each stream (contacts_live): rows that are live, labels beside
#   # values, names of owners, pipelines and stages.
#   views = false
#
#   # What it gets of personal data (docs/DESTINATIONS.md has the list): "keep",
#   # "hash" or "exclude".
#   pii = "keep"
#
#   # And of properties by name, or by stream and name: left out, hashed, cut to so
#   # many characters, kept although pii means them.
#   exclude    = ["contacts.hs_analytics_*"]
#   hash       = ["email", "owners.email"]
#   truncate   = { "contacts.zip" = 2 }
#   pii_except = ["firstname"]
# }
#
# Or files, in a folder or an object store. It has streams, deletes, raw and
# versions (files more, that stay), too.
# destination "files" "lake" {
#   url    = "s3://bucket/prefix?region=eu-central-1" # or file:///data/lake
#   format = "parquet"                                # or "ndjson"
#
#   # Without them, the environment's and those of the machine.
#   access_key = env("LAKE_ACCESS_KEY")
#   secret_key = env("LAKE_SECRET_KEY")
#
#   # How long changes wait for others, and about how large files become.
#   flush_interval = "5m"
#   file_size      = "64MiB"
#
#   # When HubSpot's properties change: "apply", "block" (wait) or "ignore".
#   schema_changes = "apply"
#
#   # How often each record is written anew, once, and how long the files before
#   # stay for those who read them.
#   compact_interval = "24h"
#   keep             = "1h"
# }
#
# Or tables of Apache Iceberg, by a hubpipe that was built with -tags iceberg. It
# has streams, deletes, raw, schema_changes, versions (a table more) and what files
# have of intervals and sizes, too.
# destination "iceberg" "tables" {
#   catalog   = "rest"                                # or "sql": a PostgreSQL database
#   uri       = "https://catalog.example/api/catalog" # or postgres://user:password@host:5432/database
#   warehouse = "analytics"                           # as the catalogue calls it; with sql s3://bucket/prefix or file:///data/lake
#
#   # Where the tables are, and what a catalogue of SQL calls itself.
#   namespace    = "hubspot"
#   catalog_name = "tables"
#
#   # A row for each version that is seen ("append"), which all engines read, or one
#   # a record ("upsert"), for those that know equality deletes.
#   mode = "append"
#
#   # Of a REST catalogue: a client's id and secret with a colon between, or a token.
#   credential = env("CATALOG_CREDENTIAL")
#   token      = env("CATALOG_TOKEN")
#
#   # More of the catalogue's and the object store's, as Iceberg calls them.
#   properties = { "s3.region" = "eu-central-1", "s3.endpoint" = "https://s3.example" }
# }

# Who is told what is wrong: one message when it begins, one when it ends,
# several things in one, at most one in five minutes. `hubpipe notify test ops`
# sends one. It goes to a webhook, or (instead) exec starts a program with the
# message as JSON on stdin. Without on it is told of all kinds.
# notify "ops" {
#   webhook = env("SLACK_URL")
#   format  = "slack" # or "json"
#   exec    = ["/usr/local/bin/page"]
#   on      = ["blocked", "failing", "stale", "brake", "schema", "destination", "disk"]
#   after   = "10m"
# }

# How `hubpipe tui` looks here, and which keys it has: docs/KEYS.md names what they
# do. The daemon has no use for it.
tui {
  theme = "auto" # light, dark, mono, high-contrast
  ascii = false  # for terminals whose blocks are as wide as two letters

  # keys {
  #   start = "f7"
  #   stop  = ["x", "f9"]
  # }
}
