std = "lua54"
max_line_length = 120
max_comment_line_length = false
self = false -- callbacks take it whether they use it or not
files["spec/lua"] = { std = "+busted" }
files["stdlib/meta"] = { only = { "0" } } -- declarations for editors: syntax alone
exclude_files = { "build" }
