portal “main” {
}
