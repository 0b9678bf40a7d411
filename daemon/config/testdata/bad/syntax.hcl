portal "main" {
  token = "pat-na1-canary
}
stream "contacts" { interval = "5m"
