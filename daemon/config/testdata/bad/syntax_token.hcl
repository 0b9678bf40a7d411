portal "main" {
  token "canary"
  token = = "canary"
}
