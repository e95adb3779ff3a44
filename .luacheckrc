std = "lua54"
max_line_length = 120
max_comment_line_length = false
unused_args = false -- a callback names what it is given
files["spec/lua"] = { std = "+busted" }
files["stdlib/meta"] = { only = { "0" } } -- declarations for editors: syntax alone
exclude_files = { "build" }
