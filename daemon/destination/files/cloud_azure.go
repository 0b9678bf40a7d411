//go:build azure

package files

import _ "gocloud.dev/blob/azureblob" // azblob://
