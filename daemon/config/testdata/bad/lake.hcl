portal "main" {
  token = env("SET")
}

stream "contacts" {}

destination "files" "a" {
  format = "csv"
}

destination "files" "b" {
  url            = "ftp://canary/lake"
  schema         = "hubspot"
  views          = true
  flush_interval = "1ms"
  file_size      = "1KiB"
}

destination "files" "c" {
  url        = "file://data/lake"
  access_key = env("SET")
}

destination "files" "d" {
  url        = "s3://me:canary@bucket"
  deletes    = "never"
  streams    = ["deals"]
  keep       = 5
  secret_key = canary
}

destination "files" "e" {
  url = "s3://bucket/one?region=eu-central-1"
}

destination "files" "f" {
  url = "s3://bucket/one/"
}

destination "postgres" "g" {
  url       = "postgres://db/crm"
  format    = "parquet"
  file_size = "64MiB"
}
