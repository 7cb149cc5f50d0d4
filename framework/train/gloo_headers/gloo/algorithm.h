// LibTorch's ProcessGroupGloo.hpp includes Gloo's headers, which its packages leave out. It needs only names from them
// for what is used here, so these stand in: declarations, and no layout that anything depends on.
#pragma once
