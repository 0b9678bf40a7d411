portal "eu" { token = env("SET") }
portal "us" { token = env("SET") }
portal "us" { token = env("SET") }
stream "contacts" { portals = ["*"] }
stream "eu_contacts" {
  object = "contacts"
  portal = "eu"
}
stream "deals" {}
stream "companies" {
  portal  = "eu"
  portals = ["us"]
}
stream "tickets" { portals = [] }
stream "people" {
  object  = "contacts"
  portals = ["eu", "su"]
}
http { listen = "localhost:8377" }
http { listen = "localhost:8378" }
