portal "a" { token = env("NOT_SET") }
portal "b" {
  token = "canary" # canary
}
portal "c" {
  oauth {
    client_id     = "c"
    client_secret = env("NOT_SET")
    refresh_token = "${env("SET")}${env("NOR_THIS")}"
  }
}
stream "contacts" { portals = ["*"] }
destination "postgres" "warehouse" {
  url = "postgres://me:${env("NO_PASSWORD")}@db"
}
