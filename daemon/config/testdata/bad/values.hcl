data_dir = "/srv/a-folder-whose-name-is-so-long-that-no-socket-fits-into-it/and-that-goes-on-and-on-for-long"
http {
  listen = "0.0.0.0:8377"
}
broker {
  listen     = "1883"
  password   = 5
  prefix     = "a/#"
  changes    = "yes"
  max_packet = "1 potato"
  url        = "mqtt://me:canary@broker.example"
}
worker {
  concurrency = 0
  name        = "Über"
}
log {
  level  = "inf"
  format = "xml"
}
portal "main" {
  token         = ""
  base_url      = "http://api.example"
  api_version   = "latest"
  daily_reserve = "20"
}
stream "contacts" {
  interval = "5x"
}
stream "companies" {
  interval = 300 # canary
}
stream "deals" {
  interval = "0s"
  cron     = "*/5 * * * *"
}
stream "tickets" {
  cron        = "0 0 30 2 *"
  timezone    = "Europe/Berln"
  properties  = ["*", "email"]
  exclude     = ["[a"]
  history     = "email"
  volatile    = ["a", "a"]
  start_date  = "yesterday"
  tail        = "-2m"
  settle      = ["75m", "15m"]
  max_deletes = "200%"
  autostart   = on
}
stream "one" {
  object   = "deals"
  cron     = "TZ=x"
  interval = null
}
stream "two" {
  object            = "deals"
  archived_interval = env("NOT_SET")
}
