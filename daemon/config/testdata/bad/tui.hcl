portal "main" {
  token = env("SET")
}

stream "contacts" {}

tui {
  theme  = "dakr"
  ascii  = "yes"
  colour = "red"

  keys {
    start = 5
    stop  = ["x", "x"]
    sync  = env("UNSET")
    up    = ["k", true]
  }
}
