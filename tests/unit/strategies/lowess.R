# The points of test_lowess.py smoothed by R's lowess, with 17 significant digits.
# Arguments: a file with columns x and y without a header, span, iterations, and where the result goes.
arguments <- commandArgs(trailingOnly = TRUE)
points <- read.table(arguments[1])
line <- lowess(points[[1]], points[[2]], f = as.numeric(arguments[2]), iter = as.integer(arguments[3]))
write.table(format(data.frame(line$x, line$y), digits = 17), arguments[4], quote = FALSE, row.names = FALSE,
            col.names = FALSE)
