portal "main" { token = "x" }

defaults {
  properties = ["email"]
  start_date = "2024-01-31"
}

stream "owners" {
  properties   = ["email"]
  exclude      = ["id"]
  volatile     = ["id"]
  associations = ["contacts"]
  history      = ["email"]
  start_date   = "2024-01-31"
}

stream "contacts" {
  associations = ["companies"]
}

stream "lines" {
  object  = "pipelines"
  history = []
}
