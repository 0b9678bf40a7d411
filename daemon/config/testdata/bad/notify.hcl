portal "main" {
  token = env("SET")
}
stream "contacts" {
  max_lag = "0s"
}
notify "both" {
  webhook = env("NOT_SET")
  exec    = ["page"]
}
notify "none" {
  on = ["bloked"]
}
notify "plain" {
  webhook = "http://hooks.example/canary"
  format  = "teams"
}
notify "exec" {
  exec   = []
  format = "json"
  on     = []
  after  = "soon"
}
notify "missing" {
  webhook = env("NOT_SET")
}
notify "missing" {
  webhook = "canary"
}
