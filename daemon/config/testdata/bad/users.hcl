portal "main" { token = env("SET") }
user "Ann" { role = "reader" }
user "hubpipe" {
  role          = "admin"
  password_hash = "canary is no hash"
}
user "ann" {
  password_hash = "$2a$04$i6TXvRhRIzgvA8L3kDvqGuzSLwMyXSOef79R/CEaVK6OaWxWZA1.S"
  password      = "canary"
}
user "ann" {
  role          = "control"
  password_hash = env("SET")
}
user "bob" "x" {}
