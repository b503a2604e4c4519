"""The generation child: one process that answers chat requests for base models and their adapters alike.

stdin: a request or a {"cancel": id} a line (request.py). stdout: deltas where asked for, then the whole
answer or an error. It ends when stdin closes, or when its parent dies.

What a row is answered with depends on the request alone: rows are padded to a length that follows from their
own prompt, random numbers come from the row's own seed, and a row never sees another. Which rows share a
batch therefore changes the speed and not the words (to the last bits of floating point, which differ with the
number of rows).
"""
