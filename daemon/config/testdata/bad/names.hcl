datadir = "/srv"
portl "main" {
  token = "canary"
}
portal "main" {
  tokn  = "canary"
  token = env("SET")
  oauth = "canary"
}
stream "contact" {}
stream "deals" {
  intervall = "5m"
  every     = "5m"
}
stream "people" { object = "contcats" }
stream "all" { object = "deals" }
stream "Big" { object = "deals" }
stream "tickets" { portal = "mian" }
destination "postgre" "x" {}
http "x" {}
token = "canary"
interval "5m" {}
