# Writes the opening `///` comment of SOURCE as a C++ raw string literal to OUTPUT.
file(READ ${SOURCE} text)
string(REGEX MATCH "^(///[^\n]*\n)+" comment "${text}")
string(REGEX REPLACE "(^|\n)///[ ]?" "\\1" comment "${comment}")
file(WRITE ${OUTPUT} "R\"about(${comment})about\"\n")
