portal "main" { token = env("SET") }
stream "contacts" {}
destination "postgres" "one" {
  url      = "postgres://db/x"
  pii      = "mask"
  exclude  = ["contacts."]
  hash     = ["companies.name"]
  truncate = { zip = 0 }
}
destination "postgres" "two" {
  url        = "postgres://db/y"
  pii_except = ["email"]
  truncate   = ["zip"]
}
