module toolwarrant.invalid/vectors

go 1.26.0

require filippo.io/mostly-harmless/ed25519vectors v0.0.0-20210322192420-30a2d7243a94
