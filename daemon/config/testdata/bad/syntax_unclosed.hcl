portal "main" {
  token = env("SET")

