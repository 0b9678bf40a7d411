stream "contacts" {}
